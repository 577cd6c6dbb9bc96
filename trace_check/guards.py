"""What each guard demands, and what could go wrong without it: the two tables of docs/trace-format.md, for reports.

A test holds these texts equal to that page, and the names to the operators of spec/Accepted.tla.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """What the evidence has to be, and why that matters to safety."""

    demands: str
    why: str


GUARDS: dict[str, Guard] = {
    "HappensBefore": Guard(
        "`after` and the order within files have no circle",
        "What happens in a circle has not happened: some line was not written when it claims, and no order of "
        "events can be judged.",
    ),
    "TermMonotonic": Guard(
        "a node's term never decreases, over restarts too; a leader leaves its term only after `Lose`, or by "
        "the end of its incarnation; who has stored the log of its term's leader, or installed its image, does "
        "not stand in that term, and no `Start` shows that it has",
        "A node that goes back to an older term can vote there again, or help a leader to commit that has been "
        "replaced.",
    ),
    "SameDisk": Guard(
        "a node's disk identity never changes, and no two nodes have the same",
        "Votes and entries are promises of a disk: a node on another disk has forgotten them, and two nodes on "
        "one disk are counted twice.",
    ),
    "NothingForgotten": Guard(
        "a `Start` shows at least what the node had traced: term, vote in that term, image, log. A log may differ "
        "only by what a leader of a later term, up to the Start's, can have replaced, and of none whose term the "
        "node had left; it is a proper beginning of what was stored only if such a leader, before the one whose log "
        "it is, had another entry within that beginning (so that the end was replaced twice). From one `Store` to "
        "the next it never is. No two incarnations of a node have the same counter",
        "Quorums meet in one node that remembers. If it forgets a vote, two leaders can win a term; if it forgets "
        "an entry, a leader without that entry can win, and what was acknowledged is lost.",
    ),
    "SameConfiguration": Guard(
        "a `Campaign`, and a `Start` with anything in its log, names the voters of the configuration its node "
        "goes by, each once; of those that the group was set up with, a `Start` with an empty log names the "
        "voters too; the `members` of a `Start` are those of that configuration, each with its part; who "
        "campaigns, and whose vote or Store is counted, is a voter by the configuration of the candidate or the "
        "leader; who is a voter by the configuration it goes by does not become `OBSERVER`",
        "Two majorities share a node only if they are majorities of the same voters. An observer is a node that "
        "nobody counts.",
    ),
    "SameFounding": Guard(
        "all founders show the same `founded` in every `Start`, or none does, and nobody else shows one; the "
        "first `Start` of each shows the image of that position and nothing else; nobody has a log that begins "
        "without it; no `Campaign`, and no candidacy that only a `Start` shows, is in its `last_term` or an earlier "
        "term",
        "A group begins with one state. If founders begin with different ones, or one of them with nothing, they "
        "apply the same entries to different things; a term that the old group used has an entry already.",
    ),
    "VoteOnce": Guard(
        "one vote per node and term, over restarts; a `Campaign` is a vote for oneself",
        "A node that votes twice in a term can be in two majorities, and then two nodes lead that term.",
    ),
    "TruePosition": Guard(
        "the position a `Campaign` or `Grant` names is where the node's log ends by its own last `Start`, `Store` "
        "or `Install`, or, if it has led and appended since, by its last `Append`: who has lost a term may keep "
        "what it had neither stored nor an image of, or give it up; its next `Campaign` or `Grant` shows which, and "
        "it stays so",
        "Votes go to logs that are complete enough. Who misstates where its log ends can win, or help to win, "
        "without an entry that is committed.",
    ),
    "CampaignHeard": Guard(
        "a `Grant` cites the candidate's `Campaign` of the same term, heard before",
        "A vote is for a candidate who asked for it, and for the log that one had then: no other log has been "
        "compared.",
    ),
    "UpToDate": Guard(
        "a `Grant` goes to a candidate whose log is at least as up to date as the voter's: `(last_term, last)` "
        "compared",
        "A majority that holds a committed entry refuses whoever lacks it. Without this a leader can win that "
        "overwrites what is committed.",
    ),
    "GrantsCited": Guard(
        "the votes a `Win` counts, its own Campaign in this incarnation among them, exist, were heard, are of "
        "this term, for this candidate, from distinct voters",
        "A winner may count only votes that were really cast for it; else two nodes can count one vote, and "
        "both lead.",
    ),
    "ElectionQuorum": Guard(
        "and they are more than half of the voters of its configuration",
        "Any two majorities share a voter, who votes once; with fewer votes two nodes can win one term.",
    ),
    "LeaderCompleteness": Guard(
        "the log of a winner holds everything committed in earlier terms, whenever that commitment comes to "
        "light",
        "A leader replaces what differs from its log. If it lacks a committed entry, that entry is lost.",
    ),
    "LeaderAppends": Guard(
        "only the winner of T, before it lost T, appends in T, after the epoch record only once it has become "
        "LEADER, and each `Append` begins where its log ended",
        "One writer for each term: entries of a term made by anybody else, or before the earlier leaders are "
        "fenced, are a split brain.",
    ),
    "OneChangeAtATime": Guard(
        "a leader appends a configuration only when it knows the one before it, and the epoch record of its own"
        " term, committed; the two differ in one node",
        "The majorities of two groups that differ in one voter share a node. If they differ in more, or a third"
        " group comes between, each may decide without the other.",
    ),
    "GroupGoesOn": Guard(
        "no change lets the group get stuck: a node joins without a vote; a learner becomes a voter when a Store "
        "of it that is cited reaches all that the leader knows committed; a voter is removed, or becomes an "
        "observer, when such Stores of more than half of the voters left are cited; it becomes no learner, and a "
        "leader takes no vote from itself; no two members have one address; who is removed is not sent, and does "
        "not store or install, the entry that removes it",
        "Nothing is lost by it, but a group with a voter that has nothing yet, or without a leader that may be "
        "elected, may stand still for good.",
    ),
    "EpochConsecutive": Guard(
        "the epoch of a term's record is one more than that of the record before it in the log, and the epoch "
        "of a `Commit` or an `Activate` is the one appended; a `Commit` names every epoch record it covers",
        "The epoch is the fencing token: of two leaders with the same or a skipped number nobody could tell "
        "which is the later.",
    ),
    "StoreOnLeaderLog": Guard(
        "a `Store` in T ends on the log of T's leader, no further than the leader's `Append`s that were heard (or "
        "than the node's log reached already, as its `Start` showed), and names the right term there; the "
        "leader's `Win` was heard. If the last entry is of term T, an `Append` ended there, or the node's image: "
        "so the digest of whatever is counted for a `Commit` is compared with one that the leader has named",
        "A Store counts towards a commitment. If it is of another log than the leader's, a majority is counted "
        "that does not hold the entries.",
    ),
    "SameDigest": Guard(
        "all who name the digest of a position name the same one",
        "Two nodes with the same position must hold the same bytes; else one position names two entries, and a "
        "majority of Stores proves nothing.",
    ),
    "StoresCited": Guard(
        "who counts Stores leads its term; those it counts exist, were heard, are Stores of its own term, from "
        "distinct voters",
        "A leader may count only entries that others really hold on disk in its term; anything else can be lost"
        " after it was acknowledged.",
    ),
    "ImageCommitted": Guard(
        "an `Image` lies within what its node knows committed and within the node's own log, an image in a `Start` "
        "within what leaders have committed and that log; from one `Image` or `Install` to the next it never shrinks",
        "An entry can be given up for another one, an image cannot: what is in it must never have to be taken "
        "back.",
    ),
    "InstallCited": Guard(
        "an `Install` cites an `Image`, `Install` or `Start` of the incarnation that leads T, heard before, which "
        "shows the very same image; the leader's `Win` was heard, and the node is not the leader itself",
        "What is installed counts as committed and takes the place of a log. Only who leads can know that it may.",
    ),
    "CommitQuorum": Guard(
        "those that reach its last index are more than half of the voters of the configuration the leader goes "
        "by, which may lie beyond that index",
        "What fewer than a majority hold, a later leader may not have: it would be overwritten after it was "
        "taken for committed.",
    ),
    "CommitOwnTerm": Guard(
        "the last entry a leader's `Commit` covers is of its own term",
        "An older term's entry on a majority of disks can still be replaced by a leader of a term in between; "
        "only an entry of the leader's own term above it prevents that.",
    ),
    "CommitCited": Guard(
        "the `Commit` of a node that does not lead cites the `Commit` of another node (its leader's), heard "
        "before, or its `Install`, or the image in its `Start`, that reaches as far, and lies within its own log; "
        "who leads counts for itself what reaches its epoch record",
        "A node that does not lead cannot know by itself what is committed; it may only repeat what a leader has "
        "counted.",
    ),
    "CommitContiguous": Guard(
        "runs continue the node's previous Commit, or its image, and agree with its log",
        "What is committed is a beginning of a log. A Commit with holes, or of entries the node does not have, "
        "would let nodes apply different things.",
    ),
    "CommitAgrees": Guard(
        "what is committed at an index never changes, for any node: no log that it shows later, by a `Store` or a "
        "`Start`, has another entry where it knew one committed",
        "If two entries are committed at one index, two nodes apply different writes there: the state has "
        "split.",
    ),
    "AckCommitted": Guard(
        "an `Ack` comes from who leads T, and lies within what its node has committed, and within one term's "
        "entries after the epoch record",
        "A client that has been told of its write relies on it; an entry that is not committed can still be "
        "replaced.",
    ),
    "ReadIndex": Guard(
        "a `ReadStart` and a `ReadServe` come from who is LEADER in T; the `ReadStart` names all that the node "
        "has committed, the `ReadServe` no less than its `ReadStart`, and no more than is committed by then",
        "Who is no LEADER, or answers with less than it knew committed when the read came in, may answer with "
        "less than a client has been promised.",
    ),
    "ConfirmHeard": Guard(
        "a `Confirm` cites a `ReadStart` of the same term, heard before",
        "A word given before the read came in says nothing about who leads after it.",
    ),
    "ReadConfirmed": Guard(
        "a `ReadServe` cites a `ReadStart` of its own incarnation and term, later than any it has served, and "
        "`Confirm`s of that `ReadStart` that were heard, from distinct voters; with the node itself they are "
        "more than half",
        "A leader that was replaced does not know. Only a majority that has not moved on since the read came in"
        " shows that nobody else can have committed anything by then.",
    ),
    "PromiseKept": Guard(
        "a client's `Ok` answers an `Invoke` that is open. A write's cites an `Ack`, heard in the reply, that "
        "covers its index in that term; the entry is committed there, stays, and is neither an epoch record nor a "
        "configuration; no two `Ok`s name the same index, but of one write tried again, and that names no other "
        "within 10,000. A read's cites a `ReadServe`, heard in the reply, of its index. Of that `Ack`, or of that "
        "read's `ReadStart`, the client had not heard when the operation began, in no incarnation",
        "This is what all other rules are for: an acknowledged write is in the committed log, at its place, for "
        "good.",
    ),
    "SessionOrder": Guard(
        "an operation that begins after an answer, by the client's own trace or by `after`, sees what that "
        "answer showed: reads never go back, and see the client's own writes",
        "A client that is shown the past after the present would take its own writes for lost.",
    ),
    "RealTimeOrder": Guard(
        "likewise between all clients that share a clock, each `at` by itself; and no clock of a client goes back",
        "Whoever asks after somebody was answered must not be shown less: that is what linearizable means.",
    ),
    "NewestVersion": Guard(
        "the `version` of a read is at most its index, and no entry after it, up to that index, is known to "
        "have written the key: not by the `Ok` of a write, nor as the `version` of another read; the entry it "
        "names is no epoch record or configuration, and not known to have written another key or none",
        "A read that shows an old value of its key is stale, whatever index it claims.",
    ),
}

VIEWS: dict[str, str] = {
    "Ballot": "an instance per term: each voter votes once, a candidate with a majority of votes wins, once, and only "
    "the winner appends",
    "Fencing": "an instance per pair of leaders: nobody is active before its own epoch record is committed, and once "
    "the later leader's record is, nothing of the earlier one can be committed",
    "Frontend": "an instance per node: it becomes LEADER only in office and with its epoch record committed, and "
    "LEADER ends only with the process",
}

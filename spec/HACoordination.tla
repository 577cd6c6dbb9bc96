--------------------------- MODULE HACoordination ---------------------------
(***************************************************************************)
(* The protocol: how a group of frontends agrees on one writable leader,   *)
(* and on the one log that it writes.                                      *)
(*                                                                         *)
(* It is Raft, with an epoch record.  Time is cut into terms.  In a term   *)
(* the nodes elect at most one of them, by votes that outlive a crash, and *)
(* they elect only who has a log at least as good as their own.  The       *)
(* leader of a term begins with an epoch record and appends to its log;    *)
(* the others copy that log, giving up what contradicts it.  What a quorum *)
(* has made durable, and has said so in the leader's own term, the leader  *)
(* takes for committed.  Once its epoch record is, no earlier leader can   *)
(* get anything committed any more.  Only then does the frontend become    *)
(* LEADER and write the journal.                                           *)
(*                                                                         *)
(* The three views, Ballot, Fencing and Frontend, say what all of this     *)
(* looks like from three sides.  That the protocol does look like that is  *)
(* the second half of this module.                                         *)
(*                                                                         *)
(* Nobody knows what is committed.  Each leader knows how far its own log  *)
(* is, by its own counting, and that is all there is: commit[t] is the     *)
(* knowledge of the leader of term t.  If there were one variable for the  *)
(* committed log of the whole group, two leaders could not even disagree,  *)
(* and the main theorem would be true because nothing else can be said.    *)
(*                                                                         *)
(* There are no messages either.  What has been sent can arrive at any     *)
(* time, more than once, out of order, or never; so it suffices to know    *)
(* what has ever been said.  A candidate has said what log it has          *)
(* (request), a voter whom it votes for (vote), a leader what its log is   *)
(* (leaderLog), a node how much of that it has made durable (acked).  Each *)
(* of these only grows.  To receive a message is to look there.            *)
(*                                                                         *)
(* Left out, on purpose:                                                   *)
(*  - Pre-vote and check-quorum.  A node that asks before it campaigns, a  *)
(*    voter that ignores candidates while it hears from a leader, and a    *)
(*    leader that steps down when it hears from nobody, all do at chosen   *)
(*    times what is allowed here at any time.                              *)
(*  - Time.  A node campaigns whenever it likes.  So the transfer of the   *)
(*    leadership to a chosen node needs nothing of its own: that node is   *)
(*    told to campaign without waiting, which is a Campaign.               *)
(*  - Hearing of a later term.  A node that has, and has done nothing      *)
(*    since, is as good as one that has not.  It shows in its next step,   *)
(*    which may skip terms that others have been in.                       *)
(*  - What a follower knows to be committed.  It has it from a leader, and *)
(*    no step here depends on it.                                          *)
(*  - Entries in memory that are not on the disk yet.  For a leader these  *)
(*    are the part of its leaderLog that its own log has not; for the      *)
(*    others it makes no difference whether they have received them.       *)
(*  - Observers, changes of the group and snapshots: Membership.tla.       *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

Seqs == INSTANCE Sequences
  (* Named, because Append is a step of the protocol here.                 *)

CONSTANTS
  Node,     \* the frontends; all of them have a vote
  None,     \* stands for no node
  Term      \* the terms: 1, 2, 3, ...

ASSUME /\ IsFiniteSet(Node) /\ None \notin Node
       /\ Term \subseteq Nat \ {0}

VARIABLES
  \* What a node keeps on its disk, besides its vote.
  term,       \* term[n] is the latest term that n has taken part in, or 0
  log,        \* log[n] is the log of n
  \* What it does not keep.
  type,       \* type[n] is the type of the frontend n, as in Frontend
  role,       \* role[n] is its part in the term: follower, candidate, leader
  \* What has been said and done in each term.
  leaderLog,  \* leaderLog[t] is the log of the leader of t, in its memory
  acked,      \* acked[t][n] is how much of it n has, durably, and has said so
  commit,     \* commit[t] is how much of it its leader knows to be committed
  active,     \* the terms whose leader has become LEADER
  winners,    \* winners[t] are the nodes that have won t
  vote,       \* vote[t][n] is whom n has voted for in t, or None
  request     \* request[t][n] is where the log of n ended when it campaigned

onDisk == <<term, log>>
inMemory == <<type, role>>
replication == <<leaderLog, acked, commit, active>>
election == <<winners, vote, request>>
vars == <<onDisk, inMemory, replication, election>>

-----------------------------------------------------------------------------
(* Logs.                                                                   *)

(***************************************************************************)
(* An entry has the term in which it was appended.  The first entry of a   *)
(* term is an epoch record: it says which epoch begins and whose it is.    *)
(* All others are writes to the journal.  What they say does not matter    *)
(* here, and no two entries at the same place of two logs are taken for    *)
(* the same unless they are equal.                                         *)
(***************************************************************************)
EpochRecord(t, e, n) == [term |-> t, epoch |-> e, owner |-> n]

JournalWrite(t) == [term |-> t, epoch |-> 0, owner |-> None]

IsEpochRecord(e) == e.epoch > 0

Len(l) == Seqs!Len(l)
Prefix(l, k) == Seqs!SubSeq(l, 1, k)

IsPrefix(l, m) == Len(l) <= Len(m) /\ Prefix(m, Len(l)) = l

LastTerm(l) == IF l = <<>> THEN 0 ELSE l[Len(l)].term

Position(l) == <<LastTerm(l), Len(l)>>
  (* Where a log ends: the term of its last entry, and the index.          *)

LastEpoch(l) ==
  LET records == {i \in 1..Len(l) : IsEpochRecord(l[i])}
  IN  IF records = {} THEN 0
      ELSE l[CHOOSE i \in records : \A j \in records : j <= i].epoch
  (* The epoch of the last epoch record in a log, or 0.                    *)

Common(l, m) ==
  CHOOSE k \in 0..Len(l) :
    /\ k <= Len(m)
    /\ \A i \in 1..k : l[i] = m[i]
    /\ k < Len(l) /\ k < Len(m) => l[k + 1] # m[k + 1]
  (* How long two logs are the same.                                       *)

Max(i, j) == IF i > j THEN i ELSE j

-----------------------------------------------------------------------------
(* The guards.  spec/broken/ overrides them one at a time.                 *)

IsQuorum(S) == 2 * Cardinality(S) > Cardinality(Node)
  (* More than half: any two quorums share a node.                         *)

Electable == {"INIT", "UNKNOWN", "FOLLOWER"}
  (* The types in which a node may campaign and become LEADER.             *)

Table == [ DOWN     |-> {},
           INIT     |-> {"FOLLOWER"},
           UNKNOWN  |-> {"FOLLOWER"},
           FOLLOWER |-> {"UNKNOWN"},
           LEADER   |-> {} ]
  (* The changes of type open to a node that does not lead, by its type.   *)

MayVote(n, t) == vote[t][n] = None
  (* One vote per node and term.                                           *)

UpToDate(position, l) ==
  LET mine == Position(l)
  IN  \/ position[1] > mine[1]
      \/ position[1] = mine[1] /\ position[2] >= mine[2]
  (* The election restriction.  A candidate whose log ends at the position *)
  (* is good enough for a voter with the log l: it has a later term at the *)
  (* end, or the same one and is no shorter.  A voter that has stored a    *)
  (* committed entry thereby insists on a leader that has it too.          *)

MayStore(n, t) == t >= term[n]
  (* A node accepts entries from the leader of its own term or of a later  *)
  (* one.  Having voted in a later term it is no longer counted on by the  *)
  (* leaders of earlier ones.                                              *)

Continues(n, t, k) ==
  LET same == Common(log[n], leaderLog[t])
  IN  IF same = Len(log[n]) THEN k >= same ELSE k > same
  (* With the first k entries of the log of t's leader for its log, n      *)
  (* gives up nothing that agrees with that log.  Entries are dropped only *)
  (* when the first one that contradicts them arrives.                     *)

MayCommit(t, i) ==
  \E k \in i..Len(leaderLog[t]) :
    /\ leaderLog[t][k].term = t
    /\ IsQuorum({n \in Node : acked[t][n] >= k})
  (* The leader of t may take index i for committed when it is covered by  *)
  (* an entry of t itself that a quorum has.  An entry of an earlier term  *)
  (* that a quorum has is not safe by that: a node without it, and with an *)
  (* entry of a term between the two, could still be elected.              *)

Fenced(n) == /\ role[n] = "leader"
             /\ \E i \in 1..commit[term[n]] : leaderLog[term[n]][i].term = term[n]
  (* n knows its own epoch record committed.  No earlier entry than that   *)
  (* is of its own term.                                                   *)

MayActivate(n) == Fenced(n)
  (* The leader may become LEADER when it has fenced all earlier ones.     *)

MayWrite(n) == type[n] = "LEADER" /\ role[n] = "leader"
  (* Nobody writes the journal but the LEADER, while it leads.             *)

MayAck(t, i) == /\ i <= commit[t]
                /\ leaderLog[t][i].term = t
                /\ ~IsEpochRecord(leaderLog[t][i])
  (* The LEADER of t may tell a client that its write, at index i, is      *)
  (* committed.                                                            *)

NextEpoch(n) == LastEpoch(log[n]) + 1
  (* A leader counts on from the last epoch in its log.                    *)

TermKept(n) == term[n]
LogKept(n) == log[n]
VotesKept(n) == vote
  (* What a crash of n leaves of its term, its log and the votes.  All of  *)
  (* it: a node says nothing of a vote or an entry before it is durable.   *)

RoomForRecord(l) == TRUE
RoomForWrite(l) == TRUE
  (* Whether an epoch record or a write may be added to a log.  The models *)
  (* say no at some length; the protocol never does.                       *)

-----------------------------------------------------------------------------
(* The frontend.                                                           *)

Init == /\ term = [n \in Node |-> 0]
        /\ log = [n \in Node |-> <<>>]
        /\ type = [n \in Node |-> "DOWN"]
        /\ role = [n \in Node |-> "follower"]
        /\ vote = [t \in Term |-> [n \in Node |-> None]]
        /\ request = [t \in Term |-> [n \in Node |-> <<0, 0>>]]
        /\ winners = [t \in Term |-> {}]
        /\ leaderLog = [t \in Term |-> <<>>]
        /\ acked = [t \in Term |-> [n \in Node |-> 0]]
        /\ commit = [t \in Term |-> 0]
        /\ active = {}
  (* At first no node runs, every disk is empty, and nothing has been      *)
  (* said.                                                                 *)

IsUp(n) == type[n] # "DOWN"

Start(n) == /\ ~IsUp(n)
            /\ type' = [type EXCEPT ![n] = "INIT"]
            /\ UNCHANGED <<onDisk, role, replication, election>>
  (* The process starts, with what it finds on its disk.                   *)

Transfer(n, to) == /\ role[n] # "leader"
                   /\ to \in Table[type[n]]
                   /\ type' = [type EXCEPT ![n] = to]
                   /\ UNCHANGED <<onDisk, role, replication, election>>
  (* The frontend changes its type.  (This has nothing to do with the      *)
  (* transfer of the leadership.)                                          *)

Ends(n) == /\ IsUp(n)
           /\ type' = [type EXCEPT ![n] = "DOWN"]
           /\ role' = [role EXCEPT ![n] = "follower"]
  (* What the end of a process means for its memory.                       *)

Exit(n) == /\ Ends(n)
           /\ UNCHANGED <<onDisk, replication, election>>
  (* The process ends by its own decision.  For a LEADER that has lost its *)
  (* role there is nothing else left to do.                                *)

Crash(n) == /\ Ends(n)
            /\ term' = [term EXCEPT ![n] = TermKept(n)]
            /\ log' = [log EXCEPT ![n] = LogKept(n)]
            /\ vote' = VotesKept(n)
            /\ UNCHANGED <<replication, winners, request>>
  (* The process ends in any other way.                                    *)

-----------------------------------------------------------------------------
(* Elections.                                                              *)

Latest == CHOOSE t \in {0} \cup Term :
            /\ t = 0 \/ \E n \in Node : term[n] = t
            /\ \A n \in Node : term[n] <= t
  (* The latest term that any node has taken part in.                      *)

Campaign(n) == /\ type[n] \in Electable
               /\ role[n] # "leader"
               /\ \E t \in Term :
                    /\ t > term[n]
                    /\ t <= Latest + 1
                    /\ term' = [term EXCEPT ![n] = t]
                    /\ vote' = [vote EXCEPT ![t][n] = n]
                    /\ request' = [request EXCEPT ![t][n] = Position(log[n])]
               /\ role' = [role EXCEPT ![n] = "candidate"]
               /\ UNCHANGED <<log, type, replication, winners>>
  (* n enters a term after the latest one it has heard of, votes for       *)
  (* itself and asks for votes.                                            *)

Grant(n, c) == /\ IsUp(n)
               /\ role[n] # "leader"
               /\ n # c
               /\ \E t \in Term :
                    /\ t >= term[n]
                    /\ MayVote(n, t)
                    /\ vote[t][c] = c
                    /\ UpToDate(request[t][c], log[n])
                    /\ term' = [term EXCEPT ![n] = t]
                    /\ vote' = [vote EXCEPT ![t][n] = c]
               /\ role' = [role EXCEPT ![n] = "follower"]
               /\ UNCHANGED <<log, type, replication, winners, request>>
  (* n votes for c.  The request may be old, and c in a later term since.  *)
  (* A leader has to Lose before it can take part in a later term.         *)

Win(c) == /\ type[c] \in Electable
          /\ role[c] = "candidate"
          /\ RoomForRecord(log[c])
          /\ LET t == term[c]
                 record == EpochRecord(t, NextEpoch(c), c)
             IN  /\ IsQuorum({n \in Node : vote[t][n] = c})
                 /\ winners' = [winners EXCEPT ![t] = @ \cup {c}]
                 /\ leaderLog' = [leaderLog EXCEPT ![t] = Seqs!Append(log[c], record)]
          /\ role' = [role EXCEPT ![c] = "leader"]
          /\ UNCHANGED <<onDisk, type, acked, commit, active, vote, request>>
  (* c finds that a quorum has voted for it, maybe long after that came    *)
  (* about, and opens its term with an epoch record.                       *)

Lose(n) == /\ role[n] = "leader"
           /\ role' = [role EXCEPT ![n] = "follower"]
           /\ UNCHANGED <<onDisk, type, replication, election>>
  (* n stops leading its term, for whatever reason.  It never resumes.     *)

-----------------------------------------------------------------------------
(* The log.                                                                *)

Append(n) == LET t == term[n]
             IN  /\ MayWrite(n)
                 /\ RoomForWrite(leaderLog[t])
                 /\ leaderLog' = [leaderLog EXCEPT ![t] = Seqs!Append(@, JournalWrite(t))]
                 /\ UNCHANGED <<onDisk, inMemory, acked, commit, active, election>>
  (* The LEADER adds a write to its log, in memory.                        *)

Store(n) == /\ IsUp(n)
            /\ \E t \in Term :
                 /\ MayStore(n, t)
                 /\ role[n] = "leader" => t = term[n]
                 /\ \E k \in 1..Len(leaderLog[t]) :
                      /\ Continues(n, t, k)
                      /\ log' = [log EXCEPT ![n] = Prefix(leaderLog[t], k)]
                      /\ acked' = [acked EXCEPT ![t][n] = Max(@, k)]
                 /\ term' = [term EXCEPT ![n] = Max(@, t)]
            /\ role' = [role EXCEPT ![n] = IF @ = "leader" THEN @ ELSE "follower"]
            /\ UNCHANGED <<type, leaderLog, commit, active, election>>
  (* n has on its disk what it has received of a leader's log, and says    *)
  (* so.  The leader does the same with its own log, at its own pace.  A   *)
  (* node that crashes after the one and before the other is a node whose  *)
  (* acknowledgement is never received.                                    *)

Commit(n) == LET t == term[n]
             IN  /\ role[n] = "leader"
                 /\ MayCommit(t, commit[t] + 1)
                 /\ commit' = [commit EXCEPT ![t] = @ + 1]
                 /\ UNCHANGED <<onDisk, inMemory, leaderLog, acked, active, election>>
  (* The leader finds the next entry of its log committed.  It begins at   *)
  (* the first one, since it cannot know what earlier leaders knew.        *)

Activate(n) == /\ role[n] = "leader"
               /\ type[n] \in Electable
               /\ MayActivate(n)
               /\ type' = [type EXCEPT ![n] = "LEADER"]
               /\ active' = active \cup {term[n]}
               /\ UNCHANGED <<onDisk, role, leaderLog, acked, commit, election>>
  (* The leader becomes LEADER.                                            *)

Ack(n) == /\ MayWrite(n)
          /\ \E i \in 1..Len(leaderLog[term[n]]) : MayAck(term[n], i)
          /\ UNCHANGED vars
  (* The LEADER tells a client that its write is committed.  Nothing is    *)
  (* remembered of that; see Promised.                                     *)

Next == \/ \E n \in Node : Start(n)
        \/ \E n \in Node, to \in {"UNKNOWN", "FOLLOWER"} : Transfer(n, to)
        \/ \E n \in Node : Exit(n)
        \/ \E n \in Node : Crash(n)
        \/ \E n \in Node : Campaign(n)
        \/ \E n \in Node, c \in Node : Grant(n, c)
        \/ \E c \in Node : Win(c)
        \/ \E n \in Node : Lose(n)
        \/ \E n \in Node : Append(n)
        \/ \E n \in Node : Store(n)
        \/ \E n \in Node : Commit(n)
        \/ \E n \in Node : Activate(n)
        \/ \E n \in Node : Ack(n)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What holds in every state.                                              *)

Entry == {EpochRecord(t, e, n) : t \in Term, e \in Term, n \in Node}
           \cup {JournalWrite(t) : t \in Term}

IsLog(l) == /\ DOMAIN l = 1..Len(l)
            /\ \A i \in DOMAIN l : l[i] \in Entry

TypeOK ==
  /\ term \in [Node -> {0} \cup Term]
  /\ DOMAIN log = Node /\ \A n \in Node : IsLog(log[n])
  /\ type \in [Node -> {"DOWN", "INIT", "UNKNOWN", "FOLLOWER", "LEADER"}]
  /\ role \in [Node -> {"follower", "candidate", "leader"}]
  /\ vote \in [Term -> [Node -> Node \cup {None}]]
  /\ request \in [Term -> [Node -> ({0} \cup Term) \X Nat]]
  /\ winners \in [Term -> SUBSET Node]
  /\ DOMAIN leaderLog = Term /\ \A t \in Term : IsLog(leaderLog[t])
  /\ acked \in [Term -> [Node -> Nat]]
  /\ commit \in [Term -> Nat]
  /\ active \subseteq Term
  /\ \A t \in Term : commit[t] <= Len(leaderLog[t])
  /\ \A t \in Term, n \in Node : acked[t][n] <= Len(leaderLog[t])

ElectionSafety == \A t \in Term : \A m, n \in winners[t] : m = n
  (* A term has at most one leader.                                        *)

Logs == {log[n] : n \in Node} \cup {leaderLog[t] : t \in Term}
  (* Every log there is, on disks and in the memory of leaders.            *)

LogMatching ==
  \A l, m \in Logs : \A i \in 1..Len(l) :
    i <= Len(m) /\ l[i].term = m[i].term => Prefix(l, i) = Prefix(m, i)
  (* Two logs that have at some index entries of the same term are the     *)
  (* same up to there.  So a position stands for all that lies before it.  *)

TermsAscend == \A l \in Logs : \A i \in 2..Len(l) : l[i - 1].term <= l[i].term
  (* Terms never decrease along a log.                                     *)

TermBeginsWithRecord ==
  \A l \in Logs : \A i \in 1..Len(l) :
    IsEpochRecord(l[i]) <=> i = 1 \/ l[i - 1].term # l[i].term
  (* The first entry of a term, and no other, is an epoch record.          *)

Covered(t) == Prefix(leaderLog[t], commit[t])
  (* What the leader of t knows to be committed.                           *)

Committed == UNION { {<<i, Covered(t)[i]>> : i \in 1..commit[t]} : t \in Term }
  (* What is committed: everything that some leader's pointer covers, with *)
  (* its index.                                                            *)

StateMachineSafety == \A x, y \in Committed : x[1] = y[1] => x = y
  (* No two pointers disagree: what any leader takes for committed at an   *)
  (* index is what every other one does that has come as far.  So all who  *)
  (* replay the journal replay the same.                                   *)

LeaderCompleteness ==
  \A s, t \in Term :
    s < t /\ winners[t] # {}
      => commit[s] <= Common(leaderLog[s], leaderLog[t])
  (* Whatever the leader of a term takes for committed is in the log of    *)
  (* every later leader, and it does not matter which of the two came      *)
  (* first: an old leader that still counts cannot find anything committed *)
  (* that a later one lacks.                                               *)

CommittedIsDurable ==
  \A x \in Committed :
    IsQuorum({n \in Node : x[1] <= Len(log[n]) /\ log[n][x[1]] = x[2]})
  (* A quorum has each committed entry on its disks, at every moment.      *)

EpochsConsecutive ==
  \A t \in Term :
    LET l == Covered(t)
    IN  \A i \in 1..Len(l) :
          IsEpochRecord(l[i]) => l[i].epoch = LastEpoch(Prefix(l, i - 1)) + 1
  (* In what is committed the epochs are 1, 2, 3, ...                      *)

EpochsUnique ==
  \A x, y \in Committed :
    IsEpochRecord(x[2]) /\ IsEpochRecord(y[2]) /\ x[2].epoch = y[2].epoch => x = y
  (* ... and each is the epoch of one leader.  A record that is not        *)
  (* committed may bear the number of another one; it goes by its term.    *)

Promised == { x \in Committed : \E t \in active : x[2].term = t /\ MayAck(t, x[1]) }
  (* The writes that a client may have been told are committed: those that *)
  (* their own leader has found to be, since it can say so at once.        *)

NoLateWrite ==
  \A x \in Promised, y \in Committed :
    IsEpochRecord(y[2]) /\ y[2].term > x[2].term => x[1] < y[1]
  (* No split brain, in the log: no acknowledged write of a leader stands  *)
  (* above the epoch record of a later one.                                *)

PromiseKept ==
  \A t \in active : \A i \in 1..Len(leaderLog[t]) :
    MayAck(t, i) =>
      \A u \in Term :
        u > t /\ winners[u] # {} =>
          i <= Len(leaderLog[u]) /\ leaderLog[u][i] = leaderLog[t][i]
  (* An acknowledged write is in the log of every later leader.            *)

LeadersAreFenced == \A n \in Node : type[n] = "LEADER" /\ role[n] = "leader" => Fenced(n)
  (* A LEADER in office knows its epoch record to be committed.            *)

OneLeaderAtMostCanCommit ==
  \A s, t \in Term :
    s < t => \A i \in 1..commit[t] : leaderLog[t][i].term = t => ~MayCommit(s, i)
  (* Once the leader of t has found its own record committed, no leader of *)
  (* an earlier term can find anything committed there or above.  This is  *)
  (* the fence.                                                            *)

Inv == /\ TypeOK
       /\ ElectionSafety
       /\ LogMatching
       /\ TermsAscend
       /\ TermBeginsWithRecord
       /\ StateMachineSafety
       /\ LeaderCompleteness
       /\ CommittedIsDurable
       /\ EpochsConsecutive
       /\ EpochsUnique
       /\ NoLateWrite
       /\ PromiseKept
       /\ LeadersAreFenced
       /\ OneLeaderAtMostCanCommit

THEOREM Spec => []Inv

(* What holds of every step.                                               *)

CommittedStays == [][Committed \subseteq Committed']_vars
  (* What is committed stays committed.                                    *)

TermsAdvance == [][\A n \in Node : term[n] <= term'[n]]_vars
  (* A node never goes back to an earlier term.                            *)

LeaderOnlyEnds == [][\A n \in Node : type[n] = "LEADER" => type'[n] \in {"LEADER", "DOWN"}]_vars
  (* LEADER is left only by the end of the process.                        *)

LeaderAppendOnly ==
  [][\A t \in Term :
       leaderLog[t] # leaderLog'[t] /\ leaderLog[t] # <<>> =>
         /\ IsPrefix(leaderLog[t], leaderLog'[t])
         /\ \E n \in winners[t] : term[n] = t /\ role[n] = "leader" /\ type[n] = "LEADER"]_vars
  (* A leader's log only grows, and only while it is LEADER.               *)

NothingForgotten ==
  [][\A n \in Node :
       log'[n] # log[n] =>
         \/ IsPrefix(log[n], log'[n])
         \/ \E t \in Term : /\ LastTerm(log[n]) < t /\ t <= term'[n]
                            /\ IsPrefix(log'[n], leaderLog[t])
                            /\ ~IsPrefix(log'[n], log[n])]_vars
  (* A log changes by growing, or by a later leader's replacing its end,   *)
  (* and never becomes a mere beginning of what it was.                    *)

LeaderNeverCampaigns ==
  [][\A n \in Node : type[n] = "LEADER" => role'[n] # "candidate"]_vars
  (* A LEADER that has lost its role does not stand for election.          *)

THEOREM Spec => /\ CommittedStays
                /\ TermsAdvance
                /\ LeaderOnlyEnds
                /\ LeaderAppendOnly
                /\ NothingForgotten
                /\ LeaderNeverCampaigns

-----------------------------------------------------------------------------
(* The protocol implements its views.                                      *)

(***************************************************************************)
(* Each view is the protocol with most of it forgotten.  An instance says  *)
(* what of the protocol the variables of the view stand for, and the       *)
(* theorem that every behaviour of the protocol is, seen through it, a     *)
(* behaviour of the view.  A theorem of the form                           *)
(*                                                                         *)
(*    Spec => \A t \in Term : BallotOf(t)!Spec                             *)
(*                                                                         *)
(* is checked in two parts: that all the views begin as they should        *)
(* (ViewsBegin), and that every step is for each of them one of its own or *)
(* none (ImplementsBallot and so on).  Since most steps change nothing     *)
(* that any instance of a view sees, that is asked first.                  *)
(***************************************************************************)

BallotOf(t) == INSTANCE Ballot WITH vote <- vote[t], winners <- winners[t]
  (* The election of term t.                                               *)

ImplementsBallot ==
  [][\/ UNCHANGED <<vote, winners>>
     \/ \A t \in Term : UNCHANGED BallotOf(t)!vars \/ BallotOf(t)!Next]_vars

THEOREM Spec => \A t \in Term : BallotOf(t)!Spec

Leads(t) == \E n \in winners[t] : term[n] = t /\ role[n] = "leader"

Belief(t) == CASE winners[t] = {}               -> "none"
               [] Leads(t) /\ t \notin active   -> "claiming"
               [] Leads(t) /\ t \in active      -> "leading"
               [] OTHER                         -> IF t \in active THEN "left" ELSE "gaveup"
  (* What the winner of t takes itself for, as that winner.                *)

RecordCommitted(t) ==
  \E u \in Term : \E i \in 1..commit[u] : /\ leaderLog[u][i].term = t
                                        /\ IsEpochRecord(leaderLog[u][i])
  (* Some leader, not necessarily that of t, knows its record committed.   *)

FencingOf(lo, hi) ==
  INSTANCE Fencing WITH
    belief <- [x \in {"lo", "hi"} |-> Belief(IF x = "lo" THEN lo ELSE hi)],
    committed <- [x \in {"lo", "hi"} |-> RecordCommitted(IF x = "lo" THEN lo ELSE hi)],
    bit <- Cardinality({x \in Committed : x[2].term \in {lo, hi} /\ ~IsEpochRecord(x[2])}) % 2 = 1
  (* The leaders of two terms.  The bit is the parity of the number of     *)
  (* their committed writes.  A pointer moves by one entry at a time, so   *)
  (* each write that is committed flips it.                                *)

ImplementsFencing ==
  [][\/ UNCHANGED [t \in Term |-> <<Belief(t), Covered(t)>>]
     \/ \A lo, hi \in Term :
          lo < hi => UNCHANGED FencingOf(lo, hi)!vars \/ FencingOf(lo, hi)!Next]_vars

THEOREM Spec => \A lo, hi \in Term : lo < hi => FencingOf(lo, hi)!Spec

FrontendOf(n) ==
  INSTANCE Frontend WITH
    type <- type[n],
    role <- IF role[n] = "leader" THEN "leader" ELSE "follower",
    fenced <- Fenced(n)
  (* One frontend.                                                         *)

ImplementsFrontend ==
  [][\/ UNCHANGED <<type, [n \in Node |-> role[n] = "leader"], [n \in Node |-> Fenced(n)]>>
     \/ \A n \in Node : UNCHANGED FrontendOf(n)!vars \/ FrontendOf(n)!Next]_vars

THEOREM Spec => \A n \in Node : FrontendOf(n)!Spec

ViewsBegin == /\ \A t \in Term : BallotOf(t)!Init
              /\ \A lo, hi \in Term : lo < hi => FencingOf(lo, hi)!Init
              /\ \A n \in Node : FrontendOf(n)!Init
  (* To be checked of the initial state.                                   *)
=============================================================================

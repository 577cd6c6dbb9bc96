------------------------------ MODULE Accepted ------------------------------
(***************************************************************************)
(* What the trace checker accepts, and why that is safe.                   *)
(*                                                                         *)
(* That the protocol refines the three views shows that right runs are     *)
(* accepted.  This module is about the other half: a run that is accepted  *)
(* has no split brain, whatever program wrote it.  So there is no protocol *)
(* here.  The state is what the checker derives from the lines it has      *)
(* read; an action is one line of a trace.  A line may say anything: a     *)
(* node may start with any log, vote for anybody, claim to have stored or  *)
(* committed anything.  Only two things stop it, and both are the          *)
(* checker's: the guards on evidence of docs/trace-format.md, each an      *)
(* operator of the same name below, and the views, of which each step must *)
(* have an edge.  The properties at the end do not mention a guard.  TLC   *)
(* finds them to hold (models/Accepted*.cfg); and when one guard is taken  *)
(* away it finds a violation (models/AcceptedWithout*.cfg).                *)
(*                                                                         *)
(* How to read the model:                                                  *)
(*                                                                         *)
(*  - A log is the sequence of its entries, an entry a term, the node that *)
(*    made it, and for a configuration the voters it names.  (Two winners  *)
(*    of one term would make different entries, though their positions are *)
(*    the same.)  Learners and observers count nowhere.  An event that names *)
(*    a position and a digest is modelled as naming a log: digests do not  *)
(*    collide.  A position without a digest is a pair of numbers.          *)
(*  - Two guards are conclusions.  LeaderCompleteness follows from the     *)
(*    others, and so does CommitAgrees for a Commit that counts Stores;    *)
(*    the models leave these out and check them as properties.  For other  *)
(*    Commits CommitAgrees is needed: a node may have heard of a Commit    *)
(*    while its own log still differs.                                     *)
(*  - "Heard" is modelled as: it has been written.  No guard refuses later *)
(*    what it has admitted before for lack of hearing, and what has been   *)
(*    heard has been written, so the model admits every order of events    *)
(*    that respects the causal one.  That an event has been heard makes it *)
(*    come first in every such order: then the verdict does not depend on  *)
(*    the order in which files are merged.  It is no matter of safety.     *)
(*  - Where a line may show a higher term for no other purpose (a Commit   *)
(*    heard of, Transfer, Exit) it shows the node's term here.  A higher   *)
(*    term only takes possibilities away, and every later event of the     *)
(*    node may show it.                                                    *)
(*                                                                         *)
(* Guards outside of this module:                                          *)
(*   HappensBefore - the model is one sequence of events, so there is no   *)
(*     circle to be found.                                                 *)
(*   SameDisk - disks have no identity here.  What another disk does is to *)
(*     forget, and NothingForgotten refuses that; SameDisk names the       *)
(*     cause.                                                              *)
(*   GroupGoesOn - it keeps the group from getting stuck.  What it forbids *)
(*     is safe, as far as OneChangeAtATime admits it.                      *)
(*   SameFounding - logs begin with nothing here.  If they begin with what *)
(*     another group committed, that is the same, as long as it is the     *)
(*     same for all.                                                       *)
(*   ImageCommitted - in Images.tla, which adds images to this module.     *)
(*   InstallCited - in Images.tla.                                         *)
(*   ReadIndex - in Reads.tla, which adds reads to this module.            *)
(*   ConfirmHeard - in Reads.tla.                                          *)
(*   ReadConfirmed - in Reads.tla.                                         *)
(*   SessionOrder - a conclusion: what clients see of Reads' ReadsFresh.   *)
(*     It, like the next two, holds the nodes to it, and assumes nothing.  *)
(*   RealTimeOrder - likewise; there are no clocks here.                   *)
(*   NewestVersion - likewise; there are no keys here.                     *)
(*                                                                         *)
(* Partly outside: that counters of incarnations differ, and that what an  *)
(* Ok answers is open, concerns names; that the Campaign counted by a Win  *)
(* is of the same incarnation, the epoch an Activate names, and that what  *)
(* a Start shows comes from leaders whose terms n had not left, one after  *)
(* the other, are left free, so the model admits more.                     *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

Seqs == INSTANCE Sequences
  (* Named, because Append is an event here.                               *)

CONSTANTS
  Node,      \* the nodes that are or may come to be voters
  None,      \* stands for "no vote" and "no campaign"
  MaxTerm,   \* terms are 1 to MaxTerm
  MaxLog,    \* logs have at most this many entries
  MaxAcks,   \* at most this many entries are acknowledged
  Types      \* the frontend types that a Transfer may lead to

Term == 1..MaxTerm

Founders == Node
Changes == SUBSET Node \ {{}}
  (* The voters at first, and the electorates that a configuration may     *)
  (* name later.  Models make both smaller.                                *)

Entry == Term \X Node \X ({{}} \cup Changes)
  (* Of an entry that is no configuration the last part is empty.          *)

Len(l) == Seqs!Len(l)

VARIABLES
  type,       \* type[n], Frontend's
  leads,      \* leads[n] is the term that n leads, or 0; Frontend's role
  fenced,     \* fenced[n], Frontend's
  term,       \* term[n] is the term of n's newest event
  log,        \* log[n] is n's log, by its newest Start or Store, and its Appends since
  synced,     \* how much of log[n] n has shown to be durable
  vote,       \* vote[t][n] is whom n has voted for in term t: Ballot's
  traced,     \* traced[t] are those whose vote in t has an event; others' only a Start showed
  asked,      \* asked[t][n] is what n's Campaign in t named
  winners,    \* winners[t] are those who have won t: Ballot's
  written,    \* written[t][n] is the log of n as a leader of t, to the end of its last Append
  epoch,      \* epoch[t][n] is the epoch in the record that n appended in t
  belief,     \* belief[t] is what t's leader takes itself for: Fencing's
  stored,     \* stored[t][n] is the log that n's newest Store in t shows; empty if none
  commit,     \* commit[n] is how many entries n knows committed, since its Start
  committed,  \* the longest logs that anybody has ever claimed committed: one, if all is well
  counted,    \* counted[t] is the longest log that a leader of t committed by counting Stores
  named,      \* the epoch records named in Commits, each with its epoch
  acked,      \* the acknowledged entries, each with its index
  promised    \* those of which a client has a promise

frontend == <<type, leads, fenced>>
disk     == <<term, log, synced>>
ballots  == <<vote, traced, asked, winners>>
leaders  == <<written, epoch, belief>>
commits  == <<commit, committed, counted, named>>
clients  == <<acked, promised>>

vars == <<frontend, disk, ballots, leaders, stored, commits, clients>>

-----------------------------------------------------------------------------
(* Logs and evidence.                                                      *)

Upto(l, i) == Seqs!SubSeq(l, 1, i)
  (* The first i entries of a log.                                         *)

IsPrefix(a, b) == Len(a) <= Len(b) /\ \A i \in 1..Len(a) : a[i] = b[i]
IsProperPrefix(a, b) == Len(a) < Len(b) /\ IsPrefix(a, b)
Comparable(a, b) == IsPrefix(a, b) \/ IsPrefix(b, a)
  (* One log is a beginning of the other.                                  *)

LastTerm(l) == IF l = <<>> THEN 0 ELSE l[Len(l)][1]
Position(l) == <<LastTerm(l), Len(l)>>

IsRecord(l, i) == i = 1 \/ l[i-1][1] # l[i][1]
  (* The first entry of a term is its epoch record.                        *)

HasRecord(l, t) == \E i \in DOMAIN l : l[i][1] = t

EpochBefore(l, i) ==
  LET records == {j \in 1..(i-1) : IsRecord(l, j)}
      latest == CHOOSE j \in records : \A k \in records : k <= j
  IN IF records = {} THEN 0 ELSE epoch[l[latest][1]][l[latest][2]]
  (* The epoch in the last record before index i.                          *)

EndsOnLogOf(t, l) ==
  /\ l # <<>>
  /\ \E w \in Node : /\ Len(l) <= Len(written[t][w])
                     /\ LastTerm(l) = written[t][w][Len(l)][1]
  (* By its position, l is a beginning of the log of a leader of t.        *)

Durable(n) == Upto(log[n], synced[n])

Overwritten(l, k, terms) ==
  \E t \in terms, w \in Node : \E i \in 1..k :
     i <= Len(l) /\ i <= Len(written[t][w]) /\ written[t][w][i] # l[i]
  (* A leader of one of the terms has another entry than l has, among the  *)
  (* first k.                                                              *)

ConfigAt(l) == LET found == {i \in DOMAIN l : l[i][3] # {}}
               IN IF found = {} THEN 0 ELSE CHOOSE i \in found : \A j \in found : j <= i
Config(l) == IF ConfigAt(l) = 0 THEN Founders ELSE l[ConfigAt(l)][3]
  (* The voters by the last configuration in a log, committed or not.      *)

Voters(n, t) == IF asked[t][n] = None THEN Node ELSE asked[t][n].voters
  (* Those whose votes n counts.                                           *)

IsMajority(S, V) == 2 * Cardinality(S \cap V) > Cardinality(V)

Votes == {<<n, t>> \in Node \X Term : n \in traced[t]}
Stores == {<<n, t>> \in Node \X Term : stored[t][n] # <<>>}
  (* The votes and the Stores that there are to be cited.                  *)

AreDistinct(cited) == \A a, b \in cited : a[1] = b[1] => a = b
  (* Of one event for each node.                                           *)

Longest == CHOOSE l \in committed : \A k \in committed : Len(k) <= Len(l)
  (* The log committed so far, as long as there is but one.                *)

Maximal(logs) == {a \in logs : \A b \in logs : ~IsProperPrefix(a, b)}

(* What a line may say.  Models make these smaller; where they do, all     *)
(* that the guards admit is still in them.                                 *)

AnyLog == UNION {[1..k -> Entry] : k \in 0..MaxLog}
AnyPosition == (0..MaxTerm) \X (0..MaxLog)
AnyTerm(n) == 0..MaxTerm
AnyVote(n, t) == Node \cup {None}

-----------------------------------------------------------------------------
(* The guards.  n is the node of the event, t its term.                    *)

TermMonotonic(n, t) == t >= term[n] /\ (t > term[n] => leads[n] = 0)
  (* A leader leaves its term only after Lose.                             *)

NothingForgotten(n, t, v, l) ==
  /\ t = term[n] /\ t # 0 /\ vote[t][n] # None => v = vote[t][n]
  /\ \/ l = Durable(n)
     \/ LET since == {u \in Term : LastTerm(Durable(n)) <= u /\ u <= t}
        IN /\ \E u \in since : EndsOnLogOf(u, l)
           /\ IsProperPrefix(l, Durable(n)) => Overwritten(Durable(n), Len(l), since)
  (* n has the vote v in term t, and its log is l.  That is the log it had *)
  (* shown to be durable, or the beginning of the log of a leader who can  *)
  (* have replaced it.  A beginning of the old log is forgetting, unless   *)
  (* another leader had replaced an entry of it in between: if so, the two *)
  (* replacements together may leave less than there was.                  *)

SameConfiguration(l, voters) == voters = Config(l)
  (* Of a Campaign with the log l.                                         *)

VoteOnce(n, t) == vote[t][n] = None
  (* n has no vote in t yet, by any event or by what a Start showed.       *)

TruePosition(n, p) == p = Position(log[n])
  (* n says that its log ends at p.                                        *)

CampaignHeard(c, t, p) == asked[t][c] # None /\ asked[t][c].position = p
  (* There is a Campaign of c in t, and it says that c's log ends at p.    *)

UpToDate(p, q) == p[1] > q[1] \/ (p[1] = q[1] /\ p[2] >= q[2])
  (* A log that ends at p may be preferred to one that ends at q.          *)

GrantsCited(n, t, cited) ==
  /\ <<n, t>> \in cited
  /\ \A g \in cited : g[2] = t /\ vote[t][g[1]] = n
  /\ AreDistinct(cited)
  (* The votes cited are n's own and others for it, of this term.          *)

ElectionQuorum(n, t, cited) == IsMajority({g[1] : g \in cited}, Voters(n, t))

LeaderCompleteness(counts, logs) ==
  \A u, v \in Term : u < v => \A w \in winners[v] : IsPrefix(counts[u], logs[v][w])
  (* With what is then committed and what are then the leaders' logs.  A   *)
  (* Commit can come to light after the Win of a later term, so both are   *)
  (* asked.                                                                *)

LeaderAppends(n, t, first) == leads[n] = t /\ first = Len(log[n]) + 1
  (* That writes are appended only after activation is not asked here: no  *)
  (* earlier one can be committed, by Fencing.                             *)

OneChangeAtATime(n, t, l, voters) ==
  /\ ConfigAt(l) <= commit[n]
  /\ \E i \in 1..commit[n] : l[i][1] = t
  /\ Cardinality((voters \ Config(l)) \cup (Config(l) \ voters)) = 1
  (* Of a leader n whose log is l and who appends a configuration with     *)
  (* these voters.  It knows the one before it committed, and its own      *)
  (* epoch record.                                                         *)

EpochConsecutive(l, i, e) == e = EpochBefore(l, i) + 1
  (* e is the epoch in the record at index i, for who appends the record   *)
  (* and for who names it in a Commit.                                     *)

StoreOnLeaderLog(t, l) == EndsOnLogOf(t, l)

SameDigest(l) ==
  \A t \in Term, w \in Node :
     Len(l) \in 1..Len(written[t][w]) /\ LastTerm(l) = written[t][w][Len(l)][1]
        => IsPrefix(l, written[t][w])
  (* What has the position of a log that a leader wrote is that log.  In a *)
  (* trace only positions at which somebody named a digest are compared.   *)

StoresCited(n, t, cited) == /\ leads[n] = t
                            /\ \A s \in cited : s[2] = t
                            /\ AreDistinct(cited)
  (* Who counts leads the term, and the Stores are of that term.           *)

CommitQuorum(n, t, cited, l) ==
  IsMajority({s[1] : s \in {s \in cited : Len(stored[s[2]][s[1]]) >= Len(l)}}, Config(log[n]))
  (* By the configuration that n goes by now, which may lie beyond l.      *)

CommitOwnTerm(t, l) == LastTerm(l) = t

CommitCited(l) == \E c \in committed : Len(c) >= Len(l)
  (* Somebody has committed as much.  Whether it was the same is for       *)
  (* CommitAgrees.                                                         *)

CommitContiguous(n, l) == IsPrefix(l, log[n]) /\ Len(l) > commit[n]

CommitAgrees(l, by) == \A c \in committed : Comparable(c, l)
  (* by is "stores" or "hearsay"; the models need to tell them apart.      *)

AckCommitted(n, t, i) == leads[n] = t /\ i <= commit[n] /\ ~IsRecord(log[n], i)
  (* The entry may be of an earlier term: a write that is tried again can  *)
  (* turn out to have been written then.                                   *)

PromiseKept(i, e) == <<i, e>> \in acked

-----------------------------------------------------------------------------
(* The views.  An event's step in a view is the view's own action, with    *)
(* this module's variables put in.                                         *)

Electorate == SUBSET Node \ {{}}

Among(V, v) == IF v \in V THEN v ELSE None

B(t, V) == INSTANCE Ballot WITH
  Node <- V,
  vote <- [n \in V |-> Among(V, vote[t][n])],
  winners <- winners[t] \cap V
  (* Of the electorate V: what its voters say of each other.  An event has *)
  (* its step in the instance of the candidate's, or the leader's.         *)

E(n) == INSTANCE Frontend WITH
  type <- type[n],
  role <- IF leads[n] = 0 THEN "follower" ELSE "leader",
  fenced <- fenced[n]

F(lo, hi, l) == INSTANCE Fencing WITH
  belief <- [x \in {"lo", "hi"} |-> IF x = "lo" THEN belief[lo] ELSE belief[hi]],
  committed <- [x \in {"lo", "hi"} |-> HasRecord(l, IF x = "lo" THEN lo ELSE hi)],
  bit <- FALSE
  (* When the committed log is l.  The bit plays no part in any guard.     *)

Pairs(t, Step(_, _, _)) == /\ \A u \in Term : u > t => Step(t, u, "lo")
                           /\ \A u \in Term : u < t => Step(u, t, "hi")
  (* A step of t's leader is a step in all pairs in which it is one.       *)

Claims(lo, hi, x) == F(lo, hi, Longest)!Claim(x)
Activates(lo, hi, x) == F(lo, hi, Longest)!Activate(x)
Loses(lo, hi, x) == F(lo, hi, Longest)!Lose(x)

Commits(l) ==
  \A i \in (Len(Longest) + 1)..Len(l) :
    LET MayCommit(lo, hi, x) == IF IsRecord(l, i) THEN F(lo, hi, Upto(l, i - 1))!MayCommitEpoch(x)
                                                  ELSE F(lo, hi, Upto(l, i - 1))!MayWrite(x)
    IN Pairs(l[i][1], MayCommit)
  (* One event may commit several entries.  Each is a step of its own, in  *)
  (* log order, so only the guards of these steps can be asked.            *)

InBallot(step) == step = TRUE
InFencing(step) == step = TRUE
InFrontend(step) == step = TRUE
  (* That the view has the step.  Models override these to do without a    *)
  (* view.  (Written so that TLC evaluates it and does not branch on it.)  *)
  (* Ballot asks nothing that the guards do not ask, but that nobody wins  *)
  (* a term twice, which Fencing asks too.  So where a guard of the        *)
  (* election is taken away, Ballot is as well.                            *)

Holds(p) == p = TRUE
  (* Likewise.                                                             *)

-----------------------------------------------------------------------------
(* The events.                                                             *)

Init == /\ type = [n \in Node |-> "DOWN"]
        /\ leads = [n \in Node |-> 0]
        /\ fenced = [n \in Node |-> FALSE]
        /\ term = [n \in Node |-> 0]
        /\ log = [n \in Node |-> <<>>]
        /\ synced = [n \in Node |-> 0]
        /\ vote = [t \in Term |-> [n \in Node |-> None]]
        /\ traced = [t \in Term |-> {}]
        /\ asked = [t \in Term |-> [n \in Node |-> None]]
        /\ winners = [t \in Term |-> {}]
        /\ written = [t \in Term |-> [n \in Node |-> <<>>]]
        /\ epoch = [t \in Term |-> [n \in Node |-> 0]]
        /\ belief = [t \in Term |-> "none"]
        /\ stored = [t \in Term |-> [n \in Node |-> <<>>]]
        /\ commit = [n \in Node |-> 0]
        /\ committed = {<<>>}
        /\ counted = [t \in Term |-> <<>>]
        /\ named = {}
        /\ acked = {}
        /\ promised = {}
  (* Nothing has been read yet.                                            *)

Runs(n) == type[n] # "DOWN"
  (* Lines stand between a Start and an Exit.                              *)

Start(n) ==
  \E t \in AnyTerm(n), l \in AnyLog : \E v \in AnyVote(n, t) :
    /\ TermMonotonic(n, t)
    /\ t = 0 => v = None
    /\ NothingForgotten(n, t, v, l)
    /\ SameDigest(l)
    /\ type' = [type EXCEPT ![n] = "INIT"]
    /\ leads' = [leads EXCEPT ![n] = 0]
    /\ fenced' = [fenced EXCEPT ![n] = FALSE]
    /\ term' = [term EXCEPT ![n] = t]
    /\ log' = [log EXCEPT ![n] = l]
    /\ synced' = [synced EXCEPT ![n] = Len(l)]
    /\ vote' = IF v = None THEN vote ELSE [vote EXCEPT ![t][n] = v]
    /\ commit' = [commit EXCEPT ![n] = 0]
    /\ UNCHANGED <<traced, asked, winners, leaders, stored, committed, counted, named, clients>>
    /\ InFrontend(E(n)!Start)
    /\ vote' # vote => InBallot(\/ v = n
                                \/ n \notin Voters(v, t)
                                \/ \E V \in Electorate : V = Voters(v, t) /\ B(t, V)!Grant(n, v))
  (* n starts, and shows what it has found on its disk.  A vote that no    *)
  (* event told of is a silent step in Ballot; one for n itself, in none   *)
  (* that anybody counts in.                                               *)

Campaign(n) ==
  \E t \in Term :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ VoteOnce(n, t)
    /\ \E p \in AnyPosition :
         /\ TruePosition(n, p)
         /\ \E voters \in SUBSET Node :
              /\ n \in voters
              /\ SameConfiguration(log[n], voters)
              /\ asked' = [asked EXCEPT ![t][n] = [position |-> p, voters |-> voters]]
    /\ term' = [term EXCEPT ![n] = t]
    /\ vote' = [vote EXCEPT ![t][n] = n]
    /\ traced' = [traced EXCEPT ![t] = @ \cup {n}]
    /\ UNCHANGED <<frontend, log, synced, winners, leaders, stored, commits, clients>>
    /\ InBallot(\E V \in Electorate : V = Voters(n, t)' /\ B(t, V)!Campaign(n))
    /\ InFrontend(E(n)!Campaign)
  (* n asks for votes.                                                     *)

Grant(n) ==
  \E t \in Term, c \in Node :
    /\ Runs(n)
    /\ n # c
    /\ TermMonotonic(n, t)
    /\ VoteOnce(n, t)
    /\ \E p \in AnyPosition :
         /\ CampaignHeard(c, t, p)
         /\ \E q \in AnyPosition : TruePosition(n, q) /\ UpToDate(p, q)
    /\ term' = [term EXCEPT ![n] = t]
    /\ vote' = [vote EXCEPT ![t][n] = c]
    /\ traced' = [traced EXCEPT ![t] = @ \cup {n}]
    /\ UNCHANGED <<frontend, log, synced, asked, winners, leaders, stored, commits, clients>>
    /\ InBallot(\/ n \notin Voters(c, t)
                \/ \E V \in Electorate : V = Voters(c, t) /\ B(t, V)!Grant(n, c))
  (* n votes for c.                                                        *)

Win(n) ==
  \E t \in Term :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ Holds(\E cited \in SUBSET Votes :
               GrantsCited(n, t, cited) /\ ElectionQuorum(n, t, cited))
    /\ term' = [term EXCEPT ![n] = t]
    /\ leads' = [leads EXCEPT ![n] = t]
    /\ winners' = [winners EXCEPT ![t] = @ \cup {n}]
    /\ written' = [written EXCEPT ![t][n] = log[n]]
    /\ belief' = [belief EXCEPT ![t] = "claiming"]
    /\ LeaderCompleteness(counted, written')
    /\ UNCHANGED <<type, fenced, log, synced, vote, traced, asked, epoch, stored, commits, clients>>
    /\ InBallot(\E V \in Electorate : V = Voters(n, t) /\ B(t, V)!Win(n))
    /\ InFencing(Pairs(t, Claims))
    /\ InFrontend(E(n)!Win)
  (* n finds that it has won.                                              *)

Append(n) ==
  \E t \in Term, first \in 1..MaxLog :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ first <= Len(log[n]) + 1
    /\ LeaderAppends(n, t, first)
    /\ \E voters \in {{}} \cup Changes :
         /\ voters # {} => OneChangeAtATime(n, t, Upto(log[n], first - 1), voters)
         /\ log' = [log EXCEPT ![n] = Seqs!Append(Upto(@, first - 1), <<t, n, voters>>)]
    /\ synced' = [synced EXCEPT ![n] = IF @ < first THEN @ ELSE first - 1]
    /\ SameDigest(log'[n])
    /\ written' = [written EXCEPT ![t][n] = log'[n]]
    /\ IF IsRecord(log'[n], first)
       THEN \E e \in 1..(MaxTerm + 1) : /\ EpochConsecutive(log'[n], first, e)
                                        /\ epoch' = [epoch EXCEPT ![t][n] = e]
       ELSE epoch' = epoch
    /\ term' = [term EXCEPT ![n] = t]
    /\ UNCHANGED <<frontend, ballots, belief, stored, commits, clients>>
    /\ InBallot(\E V \in Electorate : V = Voters(n, t) /\ B(t, V)!Append(n))
  (* n puts an entry into its log.  A line with several is as good as      *)
  (* several lines.                                                        *)

Store(n) ==
  \E t \in Term, l \in AnyLog :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ StoreOnLeaderLog(t, l)
    /\ NothingForgotten(n, t, vote[t][n], l)
    /\ SameDigest(l)
    /\ term' = [term EXCEPT ![n] = t]
    /\ log' = [log EXCEPT ![n] = IF n \in winners[t] /\ IsPrefix(l, @) THEN @ ELSE l]
    /\ synced' = [synced EXCEPT ![n] = Len(l)]
    /\ stored' = [stored EXCEPT ![t][n] = l]
    /\ UNCHANGED <<frontend, ballots, leaders, commits, clients>>
  (* n has the log l, durably; who leads t may have more that is not.      *)

Learn(n, l) ==
  /\ SameDigest(l)
  /\ LET news == {i \in (commit[n] + 1)..Len(l) : IsRecord(l, i)}
     IN /\ \E es \in [news -> 1..(MaxTerm + 1)] :
             /\ \A i \in news : EpochConsecutive(l, i, es[i])
             /\ named' = named \cup {<<l[i], es[i]>> : i \in news}
        /\ IF \E i \in news : l[i] = <<leads[n], n, {}>>
           THEN /\ fenced' = [fenced EXCEPT ![n] = TRUE]
                /\ UNCHANGED <<type, leads>>
                /\ InFrontend(E(n)!CommitEpoch)
           ELSE UNCHANGED frontend
  /\ commit' = [commit EXCEPT ![n] = Len(l)]
  /\ committed' = Maximal(committed \cup {l})
  /\ UNCHANGED <<disk, ballots, leaders, stored, clients>>
  /\ InFencing(Commits(l))
  (* What both kinds of Commit do.                                         *)

CommitByStores(n) ==
  \E t \in Term, l \in AnyLog :
    /\ Runs(n)
    /\ t = term[n]
    /\ CommitContiguous(n, l)
    /\ CommitOwnTerm(t, l)
    /\ Holds(\E cited \in SUBSET Stores :
               StoresCited(n, t, cited) /\ CommitQuorum(n, t, cited, l))
    /\ CommitAgrees(l, "stores")
    /\ counted' = [counted EXCEPT ![t] = IF Len(@) < Len(l) THEN l ELSE @]
    /\ LeaderCompleteness(counted', written)
    /\ Learn(n, l)
  (* n, a leader, has counted Stores.                                      *)

CommitByHearsay(n) ==
  \E l \in AnyLog :
    /\ Runs(n)
    /\ CommitContiguous(n, l)
    /\ CommitCited(l)
    /\ CommitAgrees(l, "hearsay")
    /\ counted' = counted
    /\ Learn(n, l)
  (* n has heard of a Commit.                                              *)

Commit(n) == CommitByStores(n) \/ CommitByHearsay(n)
  (* n says that its log is committed as far as l.                         *)

Activate(n) ==
  \E t \in Term :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ type' = [type EXCEPT ![n] = "LEADER"]
    /\ term' = [term EXCEPT ![n] = t]
    /\ belief' = [belief EXCEPT ![t] = "leading"]
    /\ UNCHANGED <<leads, fenced, log, synced, ballots, written, epoch, stored, commits, clients>>
    /\ InFencing(Pairs(t, Activates))
    /\ InFrontend(E(n)!Activate)
  (* n becomes LEADER.                                                     *)

Ack(n) ==
  \E t \in Term, i \in 1..MaxLog :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ i <= Len(log[n])
    /\ Cardinality(acked) < MaxAcks
    /\ AckCommitted(n, t, i)
    /\ term' = [term EXCEPT ![n] = t]
    /\ acked' = acked \cup {<<i, log[n][i]>>}
    /\ UNCHANGED <<frontend, log, synced, ballots, leaders, stored, commits, promised>>
    /\ InFrontend(E(n)!Ack)
  (* n tells a client that the entry at index i is committed.              *)

Ok ==
  \E i \in 1..MaxLog, e \in Entry :
    /\ Cardinality(promised) < MaxAcks
    /\ PromiseKept(i, e)
    /\ promised' = promised \cup {<<i, e>>}
    /\ UNCHANGED <<frontend, disk, ballots, leaders, stored, commits, acked>>
  (* A client believes it.                                                 *)

Stopped(b) == IF b = "leading" THEN "left" ELSE IF b = "claiming" THEN "gaveup" ELSE b

Lose(n) ==
  \E t \in Term :
    /\ Runs(n)
    /\ TermMonotonic(n, t)
    /\ term' = [term EXCEPT ![n] = t]
    /\ leads' = [leads EXCEPT ![n] = 0]
    /\ fenced' = [fenced EXCEPT ![n] = FALSE]
    /\ belief' = [belief EXCEPT ![t] = Stopped(@)]
    /\ \E l \in {log[n], Durable(n)} : log' = [log EXCEPT ![n] = l]
    /\ UNCHANGED <<type, synced, ballots, written, epoch, stored, commits, clients>>
    /\ InFencing(Pairs(t, Loses))
    /\ InFrontend(E(n)!Lose)
  (* n stops leading.  What it has appended and not stored it may keep or  *)
  (* give up; its next Campaign or Grant shows which.                      *)

Transfer(n, to) ==
  /\ Runs(n)
  /\ type' = [type EXCEPT ![n] = to]
  /\ UNCHANGED <<leads, fenced, disk, ballots, leaders, stored, commits, clients>>
  /\ InFrontend(E(n)!Transfer(to))
  (* n's frontend changes its type.                                        *)

End(n) ==
  \E t \in 0..MaxTerm :
    /\ Runs(n)
    /\ t = leads[n]
    /\ type' = [type EXCEPT ![n] = "DOWN"]
    /\ leads' = [leads EXCEPT ![n] = 0]
    /\ fenced' = [fenced EXCEPT ![n] = FALSE]
    /\ belief' = [u \in Term |-> IF u = t THEN Stopped(belief[u]) ELSE belief[u]]
    /\ UNCHANGED <<disk, ballots, written, epoch, stored, commits, clients>>
    /\ t # 0 => InFencing(Pairs(t, Loses))

Exit(n) == End(n) /\ InFrontend(E(n)!Exit)
  (* The process ends by its own decision.                                 *)

Crash(n) == End(n) /\ InFrontend(E(n)!Crash)
  (* The incarnation has no more lines: a silent step.                     *)

Next == \/ \E n \in Node : Start(n)
        \/ \E n \in Node : Campaign(n)
        \/ \E n \in Node : Grant(n)
        \/ \E n \in Node : Win(n)
        \/ \E n \in Node : Append(n)
        \/ \E n \in Node : Store(n)
        \/ \E n \in Node : Commit(n)
        \/ \E n \in Node : Activate(n)
        \/ \E n \in Node : Ack(n)
        \/ Ok
        \/ \E n \in Node : Lose(n)
        \/ \E n \in Node, to \in Types : Transfer(n, to)
        \/ \E n \in Node : Exit(n)
        \/ \E n \in Node : Crash(n)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What holds in every state.  None of these mentions a guard, so that     *)
(* they notice when one is missing.                                        *)

ElectionSafety == \A t \in Term : \A a, b \in winners[t] : a = b
  (* A term has one winner at most.                                        *)

LeadersHoldCommitted ==
  \A t, u \in Term : t < u => \A w \in winners[u] : IsPrefix(counted[t], written[u][w])
  (* Leader completeness: what a leader has committed is in the logs of    *)
  (* all leaders of later terms.                                           *)

StateMachineSafety == \A a, b \in committed : Comparable(a, b)
  (* Nobody ever claims an entry committed at an index where anybody       *)
  (* claims another.                                                       *)

NoSplitBrain ==
  \A l \in committed : \A r \in DOMAIN l : IsRecord(l, r) =>
     /\ \A a \in acked : a[2][1] < l[r][1] => a[1] < r
     /\ \A t \in Term : t < l[r][1] =>
          \A w \in winners[t] :
            ~IsMajority({n \in Node : Len(stored[t][n]) > r /\ LastTerm(stored[t][n]) = t},
                        Config(written[t][w]))
  (* An epoch record fences all earlier leaders.  Above a committed record *)
  (* no write of an earlier term has been acknowledged, and none can be    *)
  (* committed: there is no quorum that has stored one in that term.       *)

EpochsInOrder ==
  \A l \in committed : LET records == {i \in DOMAIN l : IsRecord(l, i)} IN
     \A i \in records : \A x \in named :
        x[1] = l[i] => x[2] = Cardinality({j \in records : j <= i})
  (* The committed epochs are 1, 2, 3 and so on, for whoever names them.   *)

AckedStays == \A a \in acked : \A l \in committed : a[1] <= Len(l) /\ l[a[1]] = a[2]
  (* What was acknowledged is committed.                                   *)

PromisesHold == \A p \in promised : \A l \in committed : p[1] <= Len(l) /\ l[p[1]] = p[2]
  (* And so is all that clients rely on.                                   *)

WriterWasActive ==
  \A l \in committed : \A i \in DOMAIN l :
     ~IsRecord(l, i) => belief[l[i][1]] \in {"leading", "left"}
  (* What is committed after a term's record was written by an active      *)
  (* leader.                                                               *)

ActiveHasRecord ==
  \A n \in Node : type[n] = "LEADER" /\ leads[n] # 0
     => \A l \in committed : HasRecord(l, leads[n])
  (* A LEADER in office has its epoch record committed.                    *)

Inv == /\ ElectionSafety
       /\ LeadersHoldCommitted
       /\ StateMachineSafety
       /\ NoSplitBrain
       /\ EpochsInOrder
       /\ AckedStays
       /\ PromisesHold
       /\ WriterWasActive
       /\ ActiveHasRecord

THEOREM Spec => []Inv
=============================================================================

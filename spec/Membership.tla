----------------------------- MODULE Membership -----------------------------
(***************************************************************************)
(* The group changes while it works.                                       *)
(*                                                                         *)
(* HACoordination has a fixed set of nodes, all with a vote.  Here nodes   *)
(* come and go.  Who belongs to the group, with what part and where it is  *)
(* to be found, is a configuration, and configurations are entries of the  *)
(* log like any other.  So there is never a question of which of two is    *)
(* the later one, and what makes entries safe makes them safe too.         *)
(*                                                                         *)
(* The difficulty is that they take effect on what they are made safe by.  *)
(* A node goes by the last configuration in its log, committed or not:     *)
(* the leader when it counts who has stored an entry, a candidate when it  *)
(* counts votes.  Different nodes then go by different ones, and nothing   *)
(* holds any more unless their quorums share a node.  Four rules see to    *)
(* that:                                                                   *)
(*                                                                         *)
(*  - A configuration differs from the one before it in one node.          *)
(*  - A leader proposes one only when the one before it is committed ...   *)
(*  - ... and the epoch record of its own term is.  Until then there may   *)
(*    be another one, in the log of an earlier leader, that comes after    *)
(*    the same predecessor.                                                *)
(*  - Only voters are counted, all of them are, and the same ones for      *)
(*    votes and for entries.  Learners and observers copy the log, and     *)
(*    that is all they do.                                                 *)
(*                                                                         *)
(* Five more are not about what is safe, but about not getting stuck:      *)
(*                                                                         *)
(*  - A node joins as a learner, and becomes a voter when it has on its    *)
(*    disk all that is committed.                                          *)
(*  - A voter loses its vote only if the others have a quorum that has.    *)
(*  - A leader takes no vote from itself.                                  *)
(*  - A node is not sent the entry that removes it.  If it had that entry  *)
(*    and others had not, it could not be elected and they could not do    *)
(*    without its vote.                                                    *)
(*  - Who has no vote is sent only what is committed.  If it had more, and *)
(*    a vote that it does not know of yet, it could refuse that vote to    *)
(*    all who are left, and not stand itself.  So it is with the entry     *)
(*    that takes its vote.                                                 *)
(*                                                                         *)
(* A removed node thus does not hear of its removal from the log.  It      *)
(* keeps its last configuration, and campaigns by it whenever it likes.    *)
(* No harm comes of that, which is one of the things shown here, but       *)
(* trouble does, so it should be told otherwise.                           *)
(*                                                                         *)
(* Left out, on purpose:                                                   *)
(*  - Everything that HACoordination leaves out.                           *)
(*  - Types of frontends, activation and processes.  A leader here is the  *)
(*    node that has won a term and has not gone on to a later one; to lose *)
(*    the leadership is to do nothing more with it.  All that is left of a *)
(*    crash is that the disk outlives it (Restart).                        *)
(*  - The numbers of epochs: those of the terms tell the records apart.    *)
(*  - A disk that has been cleared.  What is started on an empty disk is a *)
(*    new node, and has a name that was never used before.                 *)
(*  - Snapshots, but for what they must contain: Snapshot.tla.             *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

Seqs == INSTANCE Sequences
  (* Named, because Append is a step of the protocol here.                 *)

CONSTANTS
  Node,     \* all the nodes that are or may come to be in the group
  None,     \* stands for no node, and for no address
  Term,     \* the terms: 1, 2, 3, ...
  Address,  \* where nodes may be found
  First     \* the configuration that the group was set up with

Part == {"voter", "learner", "observer", "none"}

Configuration == [Node -> [part : Part, address : Address \cup {None}]]
  (* The part that each node has in the group, and its address.            *)

Voters(c) == {n \in Node : c[n].part = "voter"}
Members(c) == {n \in Node : c[n].part # "none"}

ASSUME /\ IsFiniteSet(Node) /\ None \notin Node /\ None \notin Address
       /\ Term \subseteq Nat \ {0}
       /\ First \in Configuration /\ Voters(First) # {}

VARIABLES
  \* What a node keeps on its disk, besides its vote.
  term,       \* term[n] is the latest term that n has taken part in, or 0
  log,        \* log[n] is the log of n
  \* What has been said and done in each term.
  leaderLog,  \* leaderLog[t] is the log of the leader of t, in its memory
  acked,      \* acked[t][n] is how much of it n has, durably, and has said so
  commit,     \* commit[t] is how much of it its leader knows to be committed
  winners,    \* winners[t] are the nodes that have won t
  vote        \* vote[t][n] is whom n has voted for in t, or None

onDisk == <<term, log>>
replication == <<leaderLog, acked, commit>>
election == <<winners, vote>>
vars == <<onDisk, replication, election>>

-----------------------------------------------------------------------------
(* Logs.                                                                   *)

(***************************************************************************)
(* An entry is an epoch record, a configuration, or a write to the         *)
(* journal, and has the term in which it was appended.  The group is set   *)
(* up by giving its members a log with one entry, of no term.              *)
(***************************************************************************)
Outside == [part |-> "none", address |-> None]

Nobody == [n \in Node |-> Outside]

EpochRecord(t) == [term |-> t, kind |-> "epoch", config |-> Nobody]
JournalWrite(t) == [term |-> t, kind |-> "write", config |-> Nobody]
Change(t, c) == [term |-> t, kind |-> "config", config |-> c]

Len(l) == Seqs!Len(l)
Prefix(l, k) == Seqs!SubSeq(l, 1, k)

IsPrefix(l, m) == Len(l) <= Len(m) /\ Prefix(m, Len(l)) = l

LastTerm(l) == IF l = <<>> THEN 0 ELSE l[Len(l)].term

Common(l, m) ==
  CHOOSE k \in 0..Len(l) :
    /\ k <= Len(m)
    /\ \A i \in 1..k : l[i] = m[i]
    /\ k < Len(l) /\ k < Len(m) => l[k + 1] # m[k + 1]
  (* How long two logs are the same.                                       *)

Changes(l) == {i \in 1..Len(l) : l[i].kind = "config"}
  (* Where in a log the configurations are.                                *)

ConfigAt(l, k) ==
  LET earlier == {i \in Changes(l) : i <= k}
  IN  IF earlier = {} THEN Nobody
      ELSE l[CHOOSE i \in earlier : \A j \in earlier : j <= i].config
  (* The last configuration among the first k entries.                     *)

Config(l) == ConfigAt(l, Len(l))
  (* The configuration that the owner of a log goes by.                    *)

Max(i, j) == IF i > j THEN i ELSE j

-----------------------------------------------------------------------------
(* The guards.  spec/broken/ overrides them one at a time.                 *)

IsMajority(S, c) == 2 * Cardinality(S \cap Voters(c)) > Cardinality(Voters(c))

ElectsIn(S, c) == IsMajority(S, c)
CommitsIn(S, c) == IsMajority(S, c)
  (* Whether the votes, or the acknowledgements, of the nodes in S suffice *)
  (* by the configuration c.  The same for both, and of voters only.       *)

Leads(n) == term[n] > 0 /\ n \in winners[term[n]]
  (* n has won the term that it is in.                                     *)

Stands(n) == /\ term[n] > 0
             /\ vote[term[n]][n] = n
             /\ acked[term[n]][n] = 0
             /\ ~Leads(n)
  (* n has asked for votes in its term, has not won, and has not heard     *)
  (* from one who did.                                                     *)

MayCampaign(n) == n \in Voters(Config(log[n]))
  (* Nobody stands for election but who is a voter as far as it knows.     *)

MayVote(n, t) == vote[t][n] = None
  (* One vote per node and term.  It does not matter what part n believes  *)
  (* to have: the candidate may know better, and counts accordingly.       *)

UpToDate(l, m) == \/ LastTerm(l) > LastTerm(m)
                  \/ LastTerm(l) = LastTerm(m) /\ Len(l) >= Len(m)
  (* The election restriction: l is good enough for one who has m.         *)

MayStore(n, t) == t >= term[n]
  (* A node accepts entries from the leader of its own term or of a later  *)
  (* one.                                                                  *)

KnownCommitted(t, k) ==
  \E u \in Term : u <= t /\ k <= commit[u] /\ leaderLog[u][k] = leaderLog[t][k]
  (* The leader of t can know its first k entries committed, by itself or  *)
  (* from an earlier leader.                                               *)

MaySend(t, k, n) ==
  \/ n \in winners[t]
  \/ \E j \in k..Len(leaderLog[t]) :
       LET c == ConfigAt(leaderLog[t], j)
       IN  n \in Voters(c) \/ (n \in Members(c) /\ KnownCommitted(t, k))
  (* A leader sends what it has to the voters of the configuration that it *)
  (* goes by at the time, and to the other members what is committed.  So  *)
  (* another node gets all that precedes its removal, and no more; and     *)
  (* whoever has no vote has nothing that may yet be given up.             *)

Continues(n, t, k) ==
  LET same == Common(log[n], leaderLog[t])
  IN  IF same = Len(log[n]) THEN k >= same ELSE k > same
  (* n gives up nothing that agrees with the leader's log.                 *)

MayCommit(t, k) ==
  /\ leaderLog[t][k].term = t
  /\ CommitsIn({n \in Node : acked[t][n] >= k}, Config(leaderLog[t]))
  (* The leader of t may take its first k entries for committed when the   *)
  (* last of them is its own and a quorum has them.                        *)

LastCommitted(t) == \A i \in Changes(leaderLog[t]) \ {1} : KnownCommitted(t, i)
  (* The leader of t can know all configurations in its log committed.     *)
  (* The first one is from the start.                                      *)

RecordCommitted(t) == \E i \in 1..commit[t] : leaderLog[t][i].term = t
  (* The leader of t knows its own epoch record committed.                 *)

CaughtUp(n, t) == acked[t][n] >= commit[t]
  (* n has all that the leader of t knows to be committed.                 *)

GoesOn(t, c) == CommitsIn({n \in Node : CaughtUp(n, t)}, c)
  (* A quorum of the configuration c has.                                  *)

MayRemove(n, m) == m # n
  (* The leader n may remove the node m, or take its vote.                 *)

Free(c, a) == \A n \in Node : c[n].address # a
  (* No member has the address a.                                          *)

TermKept(n) == term[n]
LogKept(n) == log[n]
VotesKept(n) == vote
  (* What the disk of n still has when it starts again: all of it.         *)

RoomForRecord(l) == TRUE
RoomForWrite(l) == TRUE
RoomForChange(l, c) == TRUE
  (* Whether an entry may be added to a log.  The models say no at some    *)
  (* length; the protocol never does.                                      *)

-----------------------------------------------------------------------------
(* Elections.                                                              *)

Init == LET log0 == <<Change(0, First)>>
        IN  /\ term = [n \in Node |-> 0]
            /\ log = [n \in Node |-> IF n \in Members(First) THEN log0 ELSE <<>>]
            /\ leaderLog = [t \in Term |-> <<>>]
            /\ acked = [t \in Term |-> [n \in Node |-> 0]]
            /\ commit = [t \in Term |-> 0]
            /\ winners = [t \in Term |-> {}]
            /\ vote = [t \in Term |-> [n \in Node |-> None]]
  (* At first the group is just set up, and the other nodes have nothing.  *)

Restart(n) == /\ term' = [term EXCEPT ![n] = TermKept(n)]
              /\ log' = [log EXCEPT ![n] = LogKept(n)]
              /\ vote' = VotesKept(n)
              /\ UNCHANGED <<replication, winners>>
  (* n crashes and starts again, with what is on its disk.                 *)

Latest == CHOOSE t \in {0} \cup Term :
            /\ t = 0 \/ \E n \in Node : term[n] = t
            /\ \A n \in Node : term[n] <= t
  (* The latest term that any node has taken part in.                      *)

Campaign(n) == /\ MayCampaign(n)
               /\ \E t \in Term :
                    /\ t > term[n]
                    /\ t <= Latest + 1
                    /\ term' = [term EXCEPT ![n] = t]
                    /\ vote' = [vote EXCEPT ![t][n] = n]
               /\ UNCHANGED <<log, replication, winners>>
  (* n enters a term after the latest one it has heard of, votes for       *)
  (* itself and asks for votes.                                            *)

Grant(n, c) == LET t == term[c]
               IN  /\ n # c
                   /\ Stands(c)
                   /\ t >= term[n]
                   /\ MayVote(n, t)
                   /\ UpToDate(log[c], log[n])
                   /\ term' = [term EXCEPT ![n] = t]
                   /\ vote' = [vote EXCEPT ![t][n] = c]
                   /\ UNCHANGED <<log, replication, winners>>
  (* n votes for c.  While c stands, its log is what it was when it asked. *)

Win(c) == LET t == term[c]
          IN  /\ Stands(c)
              /\ ElectsIn({n \in Node : vote[t][n] = c}, Config(log[c]))
              /\ RoomForRecord(log[c])
              /\ winners' = [winners EXCEPT ![t] = @ \cup {c}]
              /\ leaderLog' = [leaderLog EXCEPT ![t] = Seqs!Append(log[c], EpochRecord(t))]
              /\ UNCHANGED <<onDisk, acked, commit, vote>>
  (* c finds that a quorum of its configuration has voted for it, and      *)
  (* opens its term with an epoch record.                                  *)

-----------------------------------------------------------------------------
(* The log.                                                                *)

Append(n) == LET t == term[n]
             IN  /\ Leads(n)
                 /\ RoomForWrite(leaderLog[t])
                 /\ leaderLog' = [leaderLog EXCEPT ![t] = Seqs!Append(@, JournalWrite(t))]
                 /\ UNCHANGED <<onDisk, acked, commit, election>>
  (* The leader adds a write.  That it has to be LEADER is a matter of     *)
  (* HACoordination; here it may even be early.                            *)

Store(n) == /\ \E t \in Term :
                 /\ MayStore(n, t)
                 /\ \E k \in 1..Len(leaderLog[t]) :
                      /\ MaySend(t, k, n)
                      /\ Continues(n, t, k)
                      /\ log' = [log EXCEPT ![n] = Prefix(leaderLog[t], k)]
                      /\ acked' = [acked EXCEPT ![t][n] = Max(@, k)]
                 /\ term' = [term EXCEPT ![n] = Max(@, t)]
            /\ UNCHANGED <<leaderLog, commit, election>>
  (* n has on its disk what it has received of a leader's log, and says    *)
  (* so.  The leader does the same with its own, at its own pace.          *)

Commit(n) == LET t == term[n]
             IN  /\ Leads(n)
                 /\ \E k \in 1..Len(leaderLog[t]) :
                      /\ k > commit[t]
                      /\ MayCommit(t, k)
                      /\ commit' = [commit EXCEPT ![t] = k]
                 /\ UNCHANGED <<onDisk, leaderLog, acked, election>>
  (* The leader finds more of its log committed.                           *)

-----------------------------------------------------------------------------
(* Changes of the group.  All are steps of a leader n, about a node m.     *)

Current(n) == Config(leaderLog[term[n]])
  (* The configuration that the leader n goes by.                          *)

Propose(n, c) == LET t == term[n]
                 IN  /\ LastCommitted(t)
                     /\ RecordCommitted(t)
                     /\ RoomForChange(leaderLog[t], c)
                     /\ leaderLog' = [leaderLog EXCEPT ![t] = Seqs!Append(@, Change(t, c))]
                     /\ UNCHANGED <<onDisk, acked, commit, election>>
  (* The leader n adds the configuration c to its log, and at once goes by *)
  (* it.                                                                   *)

Add(n, m, part) ==
  /\ m \notin Members(Current(n))
  /\ \E a \in Address :
       /\ Free(Current(n), a)
       /\ Propose(n, [Current(n) EXCEPT ![m] = [part |-> part, address |-> a]])

AddLearner(n, m) == Leads(n) /\ Add(n, m, "learner")
AddObserver(n, m) == Leads(n) /\ Add(n, m, "observer")
  (* m joins, without a vote.                                              *)

Promote(n, m) == /\ Leads(n)
                 /\ Current(n)[m].part = "learner"
                 /\ CaughtUp(m, term[n])
                 /\ Propose(n, [Current(n) EXCEPT ![m].part = "voter"])
  (* A learner that has caught up becomes a voter.                         *)

Remove(n, m) == /\ Leads(n)
                /\ m \in Members(Current(n))
                /\ MayRemove(n, m)
                /\ LET c == [Current(n) EXCEPT ![m] = Outside]
                   IN  GoesOn(term[n], c) /\ Propose(n, c)
  (* m leaves.                                                             *)

Demote(n, m) == /\ Leads(n)
                /\ Current(n)[m].part \in {"voter", "learner"}
                /\ MayRemove(n, m)
                /\ LET c == [Current(n) EXCEPT ![m].part = "observer"]
                   IN  GoesOn(term[n], c) /\ Propose(n, c)
  (* m stays, but is not to have a vote.                                   *)

Enlist(n, m) == /\ Leads(n)
                /\ Current(n)[m].part = "observer"
                /\ Propose(n, [Current(n) EXCEPT ![m].part = "learner"])
  (* An observer is to have a vote, and is a learner first.                *)

Move(n, m) == /\ Leads(n)
              /\ m \in Members(Current(n))
              /\ \E a \in Address :
                   /\ Free(Current(n), a)
                   /\ Propose(n, [Current(n) EXCEPT ![m].address = a])
  (* m is to be found elsewhere.  This takes the same way as the others,   *)
  (* though it changes no quorum, so that there is one order of them all.  *)

Next == \/ \E n \in Node : Restart(n)
        \/ \E n \in Node : Campaign(n)
        \/ \E n \in Node, c \in Node : Grant(n, c)
        \/ \E c \in Node : Win(c)
        \/ \E n \in Node : Append(n)
        \/ \E n \in Node : Store(n)
        \/ \E n \in Node : Commit(n)
        \/ \E n \in Node, m \in Node : AddLearner(n, m)
        \/ \E n \in Node, m \in Node : AddObserver(n, m)
        \/ \E n \in Node, m \in Node : Promote(n, m)
        \/ \E n \in Node, m \in Node : Remove(n, m)
        \/ \E n \in Node, m \in Node : Demote(n, m)
        \/ \E n \in Node, m \in Node : Enlist(n, m)
        \/ \E n \in Node, m \in Node : Move(n, m)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What holds in every state.  None of it is said with a guard, so that it *)
(* notices when one is missing: the quorums below are majorities of        *)
(* voters, whatever the leaders and candidates count.                      *)

IsLog(l) ==
  /\ DOMAIN l = 1..Len(l)
  /\ \A i \in DOMAIN l : /\ DOMAIN l[i] = {"term", "kind", "config"}
                         /\ l[i].term \in {0} \cup Term
                         /\ l[i].kind \in {"epoch", "write", "config"}
                         /\ l[i].config \in Configuration

TypeOK ==
  /\ term \in [Node -> {0} \cup Term]
  /\ DOMAIN log = Node /\ \A n \in Node : IsLog(log[n])
  /\ DOMAIN leaderLog = Term /\ \A t \in Term : IsLog(leaderLog[t])
  /\ acked \in [Term -> [Node -> Nat]]
  /\ commit \in [Term -> Nat]
  /\ winners \in [Term -> SUBSET Node]
  /\ vote \in [Term -> [Node -> Node \cup {None}]]
  /\ \A t \in Term : commit[t] <= Len(leaderLog[t])
  /\ \A t \in Term, n \in Node : acked[t][n] <= Len(leaderLog[t])

Logs == {log[n] : n \in Node} \cup {leaderLog[t] : t \in Term}
  (* Every log there is, on disks and in the memory of leaders.            *)

Committed == UNION { {<<i, leaderLog[t][i]>> : i \in 1..commit[t]} : t \in Term }
  (* What some leader's pointer covers, with its index.                    *)

CouldWin(n) ==
  /\ n \in Voters(Config(log[n]))
  /\ IsMajority({m \in Node : UpToDate(log[n], log[m])}, Config(log[n]))

CouldCommit(t) ==
  /\ \E n \in winners[t] : term[n] = t
  /\ IsMajority({m \in Node : term[m] <= t}, Config(leaderLog[t]))

InUse == {Config(log[n]) : n \in {m \in Node : CouldWin(m)}}
           \cup {Config(leaderLog[t]) : t \in {s \in Term : CouldCommit(s)}}
  (* The configurations that still decide something: somebody could win a  *)
  (* new term by it, since enough of its voters have no better log; or a   *)
  (* leader could have something committed by it, since enough of its      *)
  (* voters have not gone on to a later term.  All others may be as far    *)
  (* apart as they like.                                                   *)

Meet(c, d) ==
  \A Q \in SUBSET Voters(c), R \in SUBSET Voters(d) :
    IsMajority(Q, c) /\ IsMajority(R, d) => Q \cap R # {}

QuorumsMeet == \A c, d \in InUse : Voters(c) # Voters(d) => Meet(c, d)
  (* Any two quorums of configurations that are in use share a node.  This *)
  (* is what everything else rests on.                                     *)

ElectionSafety == \A t \in Term : \A m, n \in winners[t] : m = n
  (* A term has at most one leader, even if the candidates go by different *)
  (* configurations.                                                       *)

LogMatching ==
  \A l, m \in Logs : \A i \in 1..Len(l) :
    i <= Len(m) /\ l[i].term = m[i].term => Prefix(l, i) = Prefix(m, i)
  (* Two logs that have at some index entries of the same term are the     *)
  (* same up to there.                                                     *)

TermBeginsWithRecord ==
  \A l \in Logs : \A i \in 2..Len(l) :
    /\ l[i - 1].term <= l[i].term
    /\ l[i].kind = "epoch" <=> l[i - 1].term # l[i].term
  (* Terms never decrease along a log, and the first entry of each is an   *)
  (* epoch record.                                                         *)

StateMachineSafety == \A x, y \in Committed : x[1] = y[1] => x = y
  (* Agreement: what any leader takes for committed at an index is what    *)
  (* every other one does that has come as far.                            *)

LeaderCompleteness ==
  \A s, t \in Term :
    s < t /\ winners[t] # {} => commit[s] <= Common(leaderLog[s], leaderLog[t])
  (* Whatever the leader of a term takes for committed is in the log of    *)
  (* every later leader.  So no acknowledged write is ever lost, and a     *)
  (* node whose removal is committed leads no later term.                  *)

NoSplitBrain ==
  \A x, y \in Committed :
    y[2].kind = "epoch" /\ y[2].term > x[2].term => x[1] < y[1]
  (* No entry of a term, and so no acknowledged write, is committed above  *)
  (* the epoch record of a later term.                                     *)

OnlyVotersLead == \A t \in Term : winners[t] \subseteq Voters(Config(leaderLog[t]))
  (* A leader is a voter by the configuration that it goes by.             *)

OneAtATime ==
  \A l \in Logs : \A i, j \in Changes(l) :
    i < j /\ j > 1 => i = 1 \/ <<i, l[i]>> \in Committed
  (* No log has two configurations of which the first is not committed.    *)

Before(l, i) == ConfigAt(l, i - 1)

OneNodeDiffers ==
  \A l \in Logs : \A i \in Changes(l) \ {1} :
    Cardinality({n \in Node : Before(l, i)[n] # l[i].config[n]}) = 1
  (* A configuration differs from the one before it in one node.           *)

VotersWereLearners ==
  \A l \in Logs : \A i \in Changes(l) \ {1} : \A n \in Voters(l[i].config) :
    Before(l, i)[n].part \in {"voter", "learner"}
  (* Nobody gets a vote but a learner.                                     *)

AddressesDiffer ==
  \A l \in Logs : \A m, n \in Members(Config(l)) :
    Config(l)[m].address = Config(l)[n].address => m = n
  (* No two members are to be found at one address.                        *)

NeverStuck ==
  \A A \in SUBSET Node :
    LET elects(n) == /\ n \in Voters(Config(log[n]))
                     /\ IsMajority({m \in A : UpToDate(log[n], log[m])}, Config(log[n]))
    IN  A # {} /\ (\A n \in A : IsMajority(A, Config(log[n]))) => \E n \in A : elects(n)
  (* If all nodes but those in A are lost for good, and A has a majority   *)
  (* of each configuration that anybody in it goes by, then A can elect a  *)
  (* leader.  Mistakes in changing the group violate this soon.  Why it    *)
  (* holds: take somebody of A than whose log there is none in A that is   *)
  (* more up to date.  If it is a voter by its own log, it can be elected. *)
  (* If not, a majority of the voters by that log have stored what it was  *)
  (* sent as committed, one of them is in A, and can be elected.           *)

Inv == /\ TypeOK
       /\ QuorumsMeet
       /\ ElectionSafety
       /\ LogMatching
       /\ TermBeginsWithRecord
       /\ StateMachineSafety
       /\ LeaderCompleteness
       /\ NoSplitBrain
       /\ OnlyVotersLead
       /\ OneAtATime
       /\ OneNodeDiffers
       /\ VotersWereLearners
       /\ AddressesDiffer
       /\ NeverStuck

THEOREM Spec => []Inv

(* What holds of every step.                                               *)

CommittedStays == [][Committed \subseteq Committed']_vars
  (* What is committed stays committed.                                    *)

TermsAdvance == [][\A n \in Node : term[n] <= term'[n]]_vars
  (* A node never goes back to an earlier term.                            *)

Has(n, t) == IsPrefix(Prefix(leaderLog[t], commit[t]), log[n])
  (* n has on its disk all that the leader of t knows to be committed.     *)

VotersCount ==
  [][\A t \in Term :
       commit'[t] # commit[t] =>
         IsMajority({n \in Node : acked[t][n] >= commit'[t]}, Config(leaderLog[t]))]_vars
  (* Nothing is taken for committed unless a majority of the voters have   *)
  (* said that they have it, and nobody else's word makes up for theirs.   *)

NewVotersHaveAll ==
  [][\A t \in Term :
       leaderLog'[t] # leaderLog[t] /\ winners[t] # {} =>
         \A n \in Voters(Config(leaderLog'[t])) \ Voters(Config(leaderLog[t])) : Has(n, t)]_vars
  (* A voter has all that is committed before it counts.                   *)

ChangesGoOn ==
  [][\A t \in Term :
       leaderLog'[t] # leaderLog[t] /\ winners[t] # {} =>
         IsMajority({n \in Node : Has(n, t)}, Config(leaderLog'[t]))]_vars
  (* After no change does the group have to wait for a node to catch up:   *)
  (* a majority has all that is committed.                                 *)

THEOREM Spec => /\ CommittedStays
                /\ TermsAdvance
                /\ VotersCount
                /\ NewVotersHaveAll
                /\ ChangesGoOn
=============================================================================

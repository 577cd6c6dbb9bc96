------------------------ MODULE MCHACoordinationLive ------------------------
(***************************************************************************)
(* What the protocol achieves once things go well.                         *)
(*                                                                         *)
(* Safety has to hold whatever happens.  That anything is achieved cannot  *)
(* be expected then: an election can fail for ever.  So there are two      *)
(* times here.  First there is trouble, of any kind.  Then it is calm, for *)
(* good, which means:                                                      *)
(*                                                                         *)
(*  - a majority of the nodes stays up, and a node of it that is down, or  *)
(*    has to end, is started again;                                        *)
(*  - a leader among them steps down only for a later term (check-quorum   *)
(*    finds a quorum);                                                     *)
(*  - timeouts are fair: a node of the majority campaigns only when nobody *)
(*    there leads or can still win the latest term, and in the end it is   *)
(*    one whose log is good enough for the others, which random timeouts   *)
(*    bring about with probability one;                                    *)
(*  - the other nodes do not disturb the elections (pre-vote sees to it),  *)
(*    and nobody receives requests for votes of terms long past.           *)
(*                                                                         *)
(* Trouble can start as many terms as it likes, but TLC needs a bound:     *)
(* Unruly is the last term it may start.  Calm needs two more.  The first  *)
(* may fail, when a voter stores late entries of an old leader after the   *)
(* candidate has asked.                                                    *)
(***************************************************************************)
EXTENDS MCHACoordination

CONSTANTS
  Majority,    \* the nodes that stay up
  Unruly       \* the last term that begins in trouble

ASSUME Majority \subseteq Node /\ IsQuorum(Majority) /\ Unruly + 2 \in Term

VARIABLE calm    \* the trouble is over

allVars == <<vars, calm>>

GoodLog(n) == \A m \in Majority : UpToDate(Position(log[n]), log[m])

MayStillVote(m, c) == /\ MayVote(m, Latest)
                      /\ term[m] <= Latest
                      /\ UpToDate(request[Latest][c], log[m])

Decided == \E c \in Majority :
             /\ term[c] = Latest
             /\ Latest > 0
             /\ \/ role[c] = "leader"
                \/ /\ role[c] = "candidate"
                   /\ IsQuorum({m \in Node : \/ vote[Latest][m] = c
                                             \/ m \in Majority /\ MayStillVote(m, c)})
  (* Somebody of the majority leads the latest term, or will win it.       *)

-----------------------------------------------------------------------------
(* What happens when it is calm.                                           *)

QuietStart(n) == calm /\ Start(n) /\ UNCHANGED calm

QuietEnd(n) == /\ calm
               /\ n \notin Majority \/ (type[n] = "LEADER" /\ role[n] # "leader")
               /\ Exit(n)
               /\ UNCHANGED calm

Timeout(n) == /\ calm
              /\ n \in Majority
              /\ ~Decided
              /\ GoodLog(n)
              /\ Campaign(n)
              /\ term'[n] = Latest + 1
              /\ UNCHANGED calm

QuietGrant(n, c) == calm /\ Grant(n, c) /\ term'[n] = Latest /\ UNCHANGED calm

QuietWin(c) == calm /\ Win(c) /\ UNCHANGED calm

QuietLose(n) == /\ calm
                /\ n \notin Majority \/ term[n] < Latest
                /\ Lose(n)
                /\ UNCHANGED calm

QuietAppend(n) == calm /\ Append(n) /\ UNCHANGED calm

QuietStore(n) == calm /\ Store(n) /\ UNCHANGED calm

QuietCommit(n) == calm /\ Commit(n) /\ UNCHANGED calm

QuietActivate(n) == calm /\ Activate(n) /\ UNCHANGED calm

CalmDown == ~calm /\ calm' = TRUE /\ UNCHANGED vars

Trouble == /\ ~calm
           /\ Next
           /\ \A n \in Node : term'[n] <= Unruly
           /\ UNCHANGED calm

LiveInit == Init /\ calm = FALSE

LiveNext == \/ Trouble
            \/ CalmDown
            \/ \E n \in Node : QuietStart(n)
            \/ \E n \in Node : QuietEnd(n)
            \/ \E n \in Node : Timeout(n)
            \/ \E n \in Node, c \in Node : QuietGrant(n, c)
            \/ \E c \in Node : QuietWin(c)
            \/ \E n \in Node : QuietLose(n)
            \/ \E n \in Node : QuietAppend(n)
            \/ \E n \in Node : QuietStore(n)
            \/ \E n \in Node : QuietCommit(n)
            \/ \E n \in Node : QuietActivate(n)

-----------------------------------------------------------------------------
(* A leader emerges.                                                       *)

Replicates == \A n \in Majority : /\ WF_allVars(QuietStart(n))
                                  /\ WF_allVars(QuietLose(n))
                                  /\ WF_allVars(QuietStore(n))
                                  /\ WF_allVars(QuietCommit(n))
  (* Nodes of the majority are started, give up old terms, receive what    *)
  (* the leader says, and are heard by it.                                 *)

Elects == \A n \in Majority : /\ WF_allVars(QuietEnd(n))
                              /\ WF_allVars(Timeout(n))
                              /\ \A c \in Majority : WF_allVars(QuietGrant(n, c))
                              /\ WF_allVars(QuietWin(n))
                              /\ WF_allVars(QuietActivate(n))
  (* They also end when they must, have timeouts, vote, count votes, and   *)
  (* become LEADER.                                                        *)

EmergeSpec == LiveInit /\ [][LiveNext]_allVars /\ WF_allVars(CalmDown) /\ Replicates /\ Elects

LeaderEmerges ==
  <>[]\E n \in Majority : type[n] = "LEADER" /\ role[n] = "leader" /\ Fenced(n)
  (* In the end one of the majority is LEADER, fenced, and stays.          *)

THEOREM EmergeSpec => LeaderEmerges

-----------------------------------------------------------------------------
(* What the leader accepts gets committed.                                 *)

CommitSpec == LiveInit /\ [][LiveNext]_allVars /\ Replicates
  (* Neither elections nor activation have to make progress for that.      *)

LeadsLatest(t) == \E n \in Majority : role[n] = "leader" /\ term[n] = t /\ t = Latest

WritesCommit ==
  \A t \in Term, i \in 1..MaxLog :
    calm /\ LeadsLatest(t) /\ i <= Len(leaderLog[t]) ~> commit[t] >= i
  (* Once it is calm, whatever the leader of the latest term has in its    *)
  (* log is eventually committed: its epoch record, the writes it has      *)
  (* accepted, and what earlier leaders have left.                         *)

THEOREM CommitSpec => WritesCommit
=============================================================================

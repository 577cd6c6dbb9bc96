--------------------------- MODULE SimulatedGroup ---------------------------
(***************************************************************************)
(* Right behaviours of groups that change, for traces.py to export.  As in *)
(* Simulated, what keeps anything from getting done is made rare, and a    *)
(* leader that has restarted does not hear itself.  Only a LEADER appends, *)
(* which is no matter of Membership.                                       *)
(***************************************************************************)
EXTENDS Membership, TLC

CONSTANTS
  Voter,    \* those who have a vote at first
  Length    \* how many states a behaviour has

SetUp == [n \in Node |-> IF n \in Voter THEN [part |-> "voter", address |-> n] ELSE Outside]

Rarely(k) == RandomElement(1..k) = 1

Leaderless == \A n \in Node : ~Leads(n)

Steered ==
  /\ UNCHANGED vars => Rarely(12)
  /\ (\E n \in Node : term'[n] # term[n] /\ vote'[term'[n]][n] = n)
       => Rarely(IF Leaderless THEN 3 ELSE 40)
  /\ (\E t \in Term : leaderLog'[t] # leaderLog[t] /\ leaderLog[t] # <<>>) => Rarely(4)

Possible ==
  \A t \in Term :
    /\ leaderLog'[t] # leaderLog[t] /\ leaderLog[t] # <<>> => RecordCommitted(t)
    /\ \A n \in winners[t] :
         acked'[t][n] # acked[t][n] \/ (log'[n] # log[n] /\ term'[n] = t) => Leads(n)

Eventful ==
  Cardinality({x \in Committed : x[2].kind = "config" /\ x[1] > 1}) >= IF Length < 30 THEN 1 ELSE 2
  (* What makes a behaviour worth keeping: changes that are committed.     *)

Unfinished == TLCGet("level") < Length \/ ~Eventful
=============================================================================

----------------------------- MODULE Simulated ------------------------------
(***************************************************************************)
(* Right behaviours for traces.py to export.  A random one would hardly    *)
(* ever get anything committed, since nodes would end, or campaign, in the *)
(* middle of everything.  So those steps are made rare here, and one kind  *)
(* of step is left out that the protocol allows, because it has no         *)
(* messages, and that no node can take: after a restart, hearing its own   *)
(* earlier self as leader.                                                 *)
(***************************************************************************)
EXTENDS HACoordination, TLC

CONSTANT Length   \* how many states a behaviour has

Rarely(k) == RandomElement(1..k) = 1

Ending(n) == IsUp(n) /\ type'[n] = "DOWN"
Lost(n) == type[n] = "LEADER" /\ role[n] # "leader"
Leaderless == \A n \in Node : role[n] # "leader"

Steered ==
  /\ \A n \in Node : Ending(n) => Lost(n) \/ Rarely(15)
  /\ (\E n \in Node : role[n] = "leader" /\ role'[n] # "leader" /\ IsUp(n)') => Rarely(8)
  /\ (\E n \in Node : term'[n] # term[n] /\ role'[n] = "candidate")
       => Rarely(IF Leaderless THEN 3 ELSE 30)
  /\ (\E n \in Node : type'[n] # type[n] /\ type'[n] \in {"UNKNOWN", "FOLLOWER"}) => Rarely(5)
  /\ UNCHANGED vars => Rarely(5)

Possible ==
  \A t \in Term, n \in Node :
    n \in winners[t] /\ (acked'[t][n] # acked[t][n] \/ (log'[n] # log[n] /\ term'[n] = t))
      => role[n] = "leader"

Eventful == /\ Cardinality(active) >= IF Cardinality(Node) = 3 /\ Length >= 36 THEN 2 ELSE 1
            /\ \E x \in Promised : TRUE
  (* What makes a behaviour worth keeping: a LEADER whose write has been   *)
  (* committed, and in the longer ones of three nodes another LEADER.      *)

Unfinished == TLCGet("level") < Length \/ ~Eventful
=============================================================================

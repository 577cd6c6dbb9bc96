------------------------ MODULE MCHACoordinationDeep ------------------------
(***************************************************************************)
(* HACoordination with more nodes and terms than TLC can go through.  It   *)
(* follows random behaviours instead, and looks at their states and steps. *)
(*                                                                         *)
(* A random behaviour would hardly ever get anything committed, since      *)
(* nodes would end, or campaign, in the middle of everything.  So those    *)
(* steps are made rare here, but all of them remain possible.              *)
(***************************************************************************)
EXTENDS MCHACoordination

Rarely(k) == RandomElement(1..k) = 1

Leaderless == \A n \in Node : role[n] # "leader"
MustEnd(n) == type[n] = "LEADER" /\ role[n] # "leader"

Steered ==
  /\ \A n \in Node : IsUp(n) /\ type'[n] = "DOWN" => MustEnd(n) \/ Rarely(30)
  /\ (\E n \in Node : role[n] = "leader" /\ role'[n] # "leader" /\ type'[n] # "DOWN") => Rarely(20)
  /\ (\E n \in Node : term'[n] # term[n] /\ role'[n] = "candidate")
       => Rarely(IF Leaderless THEN 3 ELSE 60)
  /\ (\E n \in Node : type'[n] # type[n] /\ type'[n] \in {"UNKNOWN", "FOLLOWER"}) => Rarely(30)
  /\ UNCHANGED vars => Rarely(20)

(* What does happen, put as if it did not: TLC has to find this violated,  *)
(* or the behaviours were too short to show anything.                      *)

NeverThreeLeaders ==
  \/ Cardinality(active) < 3
  \/ \A x, y \in Promised : x[2].term = y[2].term
  (* There are no three LEADERs, one after the other, of whom two have had *)
  (* writes committed.                                                     *)
=============================================================================

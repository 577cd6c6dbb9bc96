--------------------------- MODULE MCAcceptedDeep ---------------------------
(***************************************************************************)
(* Accepted with more terms and changes of the group than TLC can go       *)
(* through: random behaviours, in which what keeps anything from getting   *)
(* done is rare.                                                           *)
(***************************************************************************)
EXTENDS MCAccepted

Rarely(k) == RandomElement(1..k) = 1

Steered ==
  /\ vars' = vars => Rarely(4)
  /\ (\E n \in Node : leads[n] # 0 /\ leads'[n] # leads[n]) => Rarely(6)
  /\ asked' # asked =>
       Rarely(IF \E t \in Term : winners[t] # {} /\ counted[t] = <<>> THEN 10 ELSE 2)
  /\ (\E n \in Node : Len(log'[n]) < synced[n]) => Rarely(10)

(* What does happen, put as if it did not.                                 *)

NeverThreeLeaders ==
  \/ Cardinality({t \in Term : counted[t] # <<>>}) < 3
  \/ \A l \in committed : Cardinality({i \in DOMAIN l : l[i][3] # {}}) < 2
  (* Nobody has committed anything in three terms, with two changes of the *)
  (* group in between.                                                     *)
=============================================================================

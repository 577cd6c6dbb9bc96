------------------------------ MODULE MCImages ------------------------------
(***************************************************************************)
(* Images with the bounds of MCAccepted.                                   *)
(***************************************************************************)
EXTENDS MCAccepted, Images

(* All positions that TruePosition or CampaignHeard admits.                *)

SomePositions ==
  {Position(log[n]) : n \in Node} \cup
  {asked[t][n].position : <<t, n>> \in {x \in Term \X Node : asked[x[1]][x[2]] # None}}

(* Histories in which n1 is the candidate of term 1, and only n3 votes and *)
(* stores for it; then n3 of term 2, which so has all that was committed,  *)
(* by the help of n2.  n1 and n2 never end.                                *)

Succession ==
  /\ \A n \in Node :
       /\ asked[1][n] # None => n = n1
       /\ asked[2][n] # None => n = n3
       /\ n \in traced[1] \/ stored[1][n] # <<>> => n \in {n1, n3}
       /\ n \in traced[2] \/ stored[2][n] # <<>> => n \in {n2, n3}

(* The same; nobody but n2 ever ends.                                      *)

Restarts == Succession /\ type[n1] # "DOWN" /\ type[n3] # "DOWN"
=============================================================================

------------------------------ MODULE MCReads ------------------------------
(***************************************************************************)
(* Reads with the bounds of MCAccepted.                                    *)
(***************************************************************************)
EXTENDS MCAccepted, Reads

(* All positions that TruePosition or CampaignHeard admits.                *)

SomePositions ==
  {Position(log[n]) : n \in Node} \cup
  {asked[t][n].position : <<t, n>> \in {x \in Term \X Node : asked[x[1]][x[2]] # None}}

(* Histories in which n1 is the candidate of term 1, and only n3 votes and *)
(* stores for it; then n3 of term 2, which so has all that was committed,  *)
(* by the help of n2.                                                      *)

Succession ==
  \A n \in Node :
    /\ asked[1][n] # None => n = n1
    /\ asked[2][n] # None => n = n3
    /\ n \in traced[1] \/ stored[1][n] # <<>> => n \in {n1, n3}
    /\ n \in traced[2] \/ stored[2][n] # <<>> => n \in {n2, n3}

(* The same; n3 stands only once n1 is LEADER.  One Confirm makes a        *)
(* quorum, so there is no more than one.                                   *)

OneConfirm ==
  /\ Succession
  /\ asked[2][n3] # None => type[n1] = "LEADER"
  /\ Cardinality(confirms) <= 1

(* The same, and only n1 reads, and only n3 writes.                        *)

OneReadsOneWrites ==
  /\ OneConfirm
  /\ starts[2] = <<>>
  /\ \A n \in Node : Len(written[1][n]) <= 1

(* There is but term 1.                                                    *)

FirstTerm == Succession /\ \A n \in Node : term[n] <= 1
=============================================================================

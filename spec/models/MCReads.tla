------------------------------ MODULE MCReads ------------------------------
(***************************************************************************)
(* Reads with the bounds of MCAccepted.                                    *)
(***************************************************************************)
EXTENDS MCAccepted, Reads

(* Histories in which the leader of term 1 reads, and that of term 2       *)
(* writes.  One Confirm makes a quorum, so there is no more than one.      *)

OneReadsOneWrites ==
  /\ InTurn
  /\ starts[2] = <<>>
  /\ Cardinality(confirms) <= 1
  /\ \A n \in Node : Len(written[1][n]) <= 1

(* All positions that TruePosition or CampaignHeard admits.                *)

SomePositions ==
  {Position(log[n]) : n \in Node} \cup
  {asked[t][n].position : <<t, n>> \in {x \in Term \X Node : asked[x[1]][x[2]] # None}}
=============================================================================

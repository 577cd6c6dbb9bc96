------------------------------ MODULE MCReads ------------------------------
(***************************************************************************)
(* Reads with the bounds of MCAccepted.                                    *)
(***************************************************************************)
EXTENDS MCAccepted, Reads

(* Succession, and n3 stands only once n1 is LEADER.  One Confirm makes a  *)
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

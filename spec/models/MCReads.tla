------------------------------ MODULE MCReads ------------------------------
(***************************************************************************)
(* Reads with the bounds of MCAccepted.                                    *)
(***************************************************************************)
EXTENDS MCAccepted, Reads

(* Histories in which the leader of term 1 reads, and that of term 2       *)
(* writes.                                                                 *)

OneReadsOneWrites ==
  /\ InTurn
  /\ starts[2] = <<>>
  /\ \A n \in Node : Len(written[1][n]) <= 1
=============================================================================

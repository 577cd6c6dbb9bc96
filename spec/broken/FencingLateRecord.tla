------------------------- MODULE FencingLateRecord --------------------------
(***************************************************************************)
(* The fence does not hold for records: the earlier leader's epoch         *)
(* record is committed above the later one's, so that the order of         *)
(* epochs is not the order of terms.                                       *)
(***************************************************************************)
EXTENDS Fencing

UnfencedMayCommitEpoch(x) == belief[x] \in {"claiming", "gaveup"} /\ ~committed[x]
=============================================================================

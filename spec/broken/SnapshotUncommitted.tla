------------------------ MODULE SnapshotUncommitted -------------------------
(***************************************************************************)
(* A leader makes an image of all that it has, committed or not.  Another  *)
(* leader that has not seen the end of it commits something else instead.  *)
(***************************************************************************)
EXTENDS MCSnapshot

AnyImage(t, k) == TRUE
=============================================================================

------------------------- MODULE FrontendStaleFence -------------------------
(***************************************************************************)
(* The fence of one leadership outlives it, so that the next one finds     *)
(* itself fenced without a record of its own.                              *)
(***************************************************************************)
EXTENDS Frontend

StaleFence == fenced
=============================================================================

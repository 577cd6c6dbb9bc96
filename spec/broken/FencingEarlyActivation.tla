----------------------- MODULE FencingEarlyActivation -----------------------
(***************************************************************************)
(* A leader activates when it has won, without waiting for its epoch       *)
(* record to be committed.                                                 *)
(***************************************************************************)
EXTENDS Fencing

ImpatientMayActivate(x) == belief[x] = "claiming"
=============================================================================

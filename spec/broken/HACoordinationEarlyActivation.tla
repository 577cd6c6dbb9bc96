------------------- MODULE HACoordinationEarlyActivation --------------------
(***************************************************************************)
(* A leader becomes LEADER when it has won, without waiting for its epoch  *)
(* record to be committed.                                                 *)
(***************************************************************************)
EXTENDS MCHACoordination

ImpatientMayActivate(n) == TRUE
=============================================================================

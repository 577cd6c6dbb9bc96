------------------------ MODULE HACoordinationAnyLog ------------------------
(***************************************************************************)
(* The election restriction is gone: a voter gives its vote to any         *)
(* candidate, whatever its log lacks.  The new leader overwrites what was  *)
(* committed (HACoordinationAnyLog.cfg), and two logs are written          *)
(* (HACoordinationTwoLogs.cfg).                                            *)
(***************************************************************************)
EXTENDS MCHACoordination

AnyLog(position, l) == TRUE
=============================================================================

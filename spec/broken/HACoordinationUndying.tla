----------------------- MODULE HACoordinationUndying ------------------------
(***************************************************************************)
(* A LEADER that has lost its role does not end, but stands for election   *)
(* like everybody else.                                                    *)
(***************************************************************************)
EXTENDS MCHACoordination

Everyone == {"INIT", "UNKNOWN", "FOLLOWER", "LEADER"}
=============================================================================

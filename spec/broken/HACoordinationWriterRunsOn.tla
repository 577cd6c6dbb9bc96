--------------------- MODULE HACoordinationWriterRunsOn ---------------------
(***************************************************************************)
(* A LEADER that has lost its role neither ends nor stops its writer,      *)
(* which goes on adding to the log of what is now the node's term.         *)
(***************************************************************************)
EXTENDS MCHACoordination

UnstoppedMayWrite(n) == type[n] = "LEADER"
=============================================================================

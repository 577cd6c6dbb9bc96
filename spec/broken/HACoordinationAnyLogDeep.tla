---------------------- MODULE HACoordinationAnyLogDeep ----------------------
(* HACoordinationAnyLog with random behaviours of five nodes.              *)
EXTENDS MCHACoordinationDeep, HACoordinationAnyLog
=============================================================================

----------------------- MODULE HACoordinationStepDown -----------------------
(***************************************************************************)
(* A LEADER that has lost its role steps down to UNKNOWN instead of        *)
(* ending.                                                                 *)
(***************************************************************************)
EXTENDS MCHACoordination

LenientTable == [ DOWN     |-> {},
                  INIT     |-> {"FOLLOWER"},
                  UNKNOWN  |-> {"FOLLOWER"},
                  FOLLOWER |-> {"UNKNOWN"},
                  LEADER   |-> {"UNKNOWN"} ]
=============================================================================

-------------------------- MODULE FrontendStepDown --------------------------
(***************************************************************************)
(* A LEADER that has lost its role steps down to UNKNOWN instead of        *)
(* ending, and carries its unfinished work along.                          *)
(***************************************************************************)
EXTENDS Frontend

LenientTable == [ DOWN     |-> {},
                  INIT     |-> {"FOLLOWER", "OBSERVER"},
                  UNKNOWN  |-> {"FOLLOWER", "OBSERVER"},
                  FOLLOWER |-> {"UNKNOWN"},
                  OBSERVER |-> {"UNKNOWN"},
                  LEADER   |-> {"UNKNOWN"} ]
=============================================================================

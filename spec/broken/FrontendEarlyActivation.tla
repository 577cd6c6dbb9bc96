---------------------- MODULE FrontendEarlyActivation -----------------------
(***************************************************************************)
(* A frontend becomes LEADER as soon as it has won, without knowing its    *)
(* epoch record committed.                                                 *)
(***************************************************************************)
EXTENDS Frontend

ImpatientMayActivate == TRUE
=============================================================================

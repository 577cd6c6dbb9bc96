-------------------- MODULE HACoordinationForgottenTerm ---------------------
(***************************************************************************)
(* A node does not keep its term.  After a crash it takes part in terms    *)
(* that it had left for good.                                              *)
(***************************************************************************)
EXTENDS MCHACoordination

ForgottenTerm(n) == 0
=============================================================================

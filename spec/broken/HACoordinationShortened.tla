---------------------- MODULE HACoordinationShortened -----------------------
(***************************************************************************)
(* A node takes for its log whatever beginning of the leader's log it is   *)
(* sent.  An old message makes it drop entries that it has acknowledged.   *)
(***************************************************************************)
EXTENDS MCHACoordination

AnyPart(n, t, k) == TRUE
=============================================================================

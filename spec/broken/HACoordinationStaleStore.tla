---------------------- MODULE HACoordinationStaleStore ----------------------
(***************************************************************************)
(* A node accepts entries from the leader of a term that it has left.  It  *)
(* has voted for somebody else since, and is counted for a commitment that *)
(* the new leader knows nothing of.                                        *)
(***************************************************************************)
EXTENDS MCHACoordination

AlwaysMayStore(n, t) == TRUE
=============================================================================

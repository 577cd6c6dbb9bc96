------------------------- MODULE HACoordinationHalf -------------------------
(***************************************************************************)
(* Half of the nodes are a quorum.  Two halves need not have a node in     *)
(* common.                                                                 *)
(***************************************************************************)
EXTENDS MCHACoordination

HalfOrMore(S) == 2 * Cardinality(S) >= Cardinality(Node)
=============================================================================

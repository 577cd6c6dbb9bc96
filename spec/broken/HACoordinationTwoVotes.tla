----------------------- MODULE HACoordinationTwoVotes -----------------------
(***************************************************************************)
(* A node may change its mind and vote again in the same term.  The second *)
(* winner begins another log of the same term.                             *)
(***************************************************************************)
EXTENDS MCHACoordination

ChangingMayVote(n, t) == TRUE
=============================================================================

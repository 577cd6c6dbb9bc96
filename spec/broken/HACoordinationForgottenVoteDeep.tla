------------------ MODULE HACoordinationForgottenVoteDeep -------------------
(* HACoordinationForgottenVote with random behaviours of five nodes.       *)
EXTENDS MCHACoordinationDeep, HACoordinationForgottenVote
=============================================================================

-------------------- MODULE HACoordinationForgottenVote ---------------------
(***************************************************************************)
(* A vote is not on the disk when it is told: a crash takes it, and the    *)
(* node votes again in the same term.                                      *)
(***************************************************************************)
EXTENDS MCHACoordination

ForgottenVotes(n) == IF term[n] = 0 THEN vote ELSE [vote EXCEPT ![term[n]][n] = None]
=============================================================================

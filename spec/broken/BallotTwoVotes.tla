--------------------------- MODULE BallotTwoVotes ---------------------------
(***************************************************************************)
(* A node forgets its vote, as after a crash without a synced disk, and    *)
(* votes again in the same term.  Two candidates come by a majority.       *)
(***************************************************************************)
EXTENDS Ballot

ForgetfulMayVote(n) == TRUE
=============================================================================

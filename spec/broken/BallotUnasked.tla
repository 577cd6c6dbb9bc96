--------------------------- MODULE BallotUnasked ----------------------------
(***************************************************************************)
(* A node gives its vote to one who has not asked.  Nobody wins a term     *)
(* twice by that, but a node that never campaigned may.                    *)
(***************************************************************************)
EXTENDS Ballot

NeedNotAsk(c) == TRUE
=============================================================================

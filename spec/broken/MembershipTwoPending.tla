------------------------- MODULE MembershipTwoPending -----------------------
(***************************************************************************)
(* A leader proposes a configuration while the one before it is not        *)
(* committed.  Each differs from the one before in one node, but others    *)
(* still go by the one before both.                                        *)
(***************************************************************************)
EXTENDS MCMembership

NeedNotWait(t) == TRUE
=============================================================================

----------------------- MODULE MembershipEarlyPromotion ---------------------
(***************************************************************************)
(* A learner becomes a voter whatever it has stored.  Nothing is lost by   *)
(* that, because entries and votes are counted among the same voters; but  *)
(* the group has a voter that cannot help it, and may have to wait for it. *)
(***************************************************************************)
EXTENDS MCMembership

NeedNotCatchUp(n, t) == TRUE
=============================================================================

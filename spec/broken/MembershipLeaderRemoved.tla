----------------------- MODULE MembershipLeaderRemoved ----------------------
(***************************************************************************)
(* A leader removes itself.  If it is lost to the group before another     *)
(* node has that entry, nobody can be elected: it is no voter any more by  *)
(* its own log, which is better than any other.                            *)
(***************************************************************************)
EXTENDS MCMembership

EvenItself(n, m) == TRUE
=============================================================================

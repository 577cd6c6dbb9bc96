------------------------- MODULE MembershipQuorumLost -----------------------
(***************************************************************************)
(* A voter is removed without regard to who stays.  They may be nodes that *)
(* have not been heard of for long, and nothing can be committed until     *)
(* they are back.                                                          *)
(***************************************************************************)
EXTENDS MCMembership

WhoeverStays(t, c) == TRUE
=============================================================================

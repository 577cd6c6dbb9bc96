----------------------- MODULE MembershipSentToRemoved ----------------------
(***************************************************************************)
(* A leader sends its log to everybody, and so to the node that it         *)
(* removes.  If that node alone has the entry that removes it and the      *)
(* leader is lost, it does not stand for election, and others cannot be    *)
(* elected without its vote.                                               *)
(***************************************************************************)
EXTENDS MCMembership

ToEverybody(t, k, n) == TRUE
=============================================================================

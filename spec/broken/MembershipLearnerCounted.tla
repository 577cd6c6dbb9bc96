----------------------- MODULE MembershipLearnerCounted ---------------------
(***************************************************************************)
(* A leader counts whoever has stored an entry, learners too, and finds a  *)
(* majority.  Most of the voters have not, and elect another one.  (Of     *)
(* entries that are sent to learners when they are committed, there is     *)
(* nothing to be counted.)                                                 *)
(***************************************************************************)
EXTENDS MembershipLearnerAhead

AnyoneCounts(S, c) == 2 * Cardinality(S \cap Members(c)) > Cardinality(Voters(c))
=============================================================================

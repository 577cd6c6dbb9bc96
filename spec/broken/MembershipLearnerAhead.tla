------------------------ MODULE MembershipLearnerAhead ----------------------
(***************************************************************************)
(* A leader sends all it has to every member, with a vote or without.  A   *)
(* learner then may have an entry of a later term than any voter that is   *)
(* left.  If its promotion is on one disk of these, and not on its own,    *)
(* its vote is needed, it refuses it to all others, and may not stand.     *)
(***************************************************************************)
EXTENDS MCMembershipDeep

ToMembers(t, k, n) ==
  \/ n \in winners[t]
  \/ \E j \in k..Len(leaderLog[t]) : n \in Members(ConfigAt(leaderLog[t], j))
=============================================================================

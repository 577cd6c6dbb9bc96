------------------------ MODULE MembershipEarlyChange -----------------------
(***************************************************************************)
(* A leader proposes a configuration before its own epoch record is        *)
(* committed.  This is how Raft changed its group in the thesis that       *)
(* describes it, until Ongaro found in 2015 that it is wrong.  Two leaders *)
(* of an even number of voters each remove another one of them, and then   *)
(* the majorities need not meet.                                           *)
(***************************************************************************)
EXTENDS MCMembership

CONSTANTS One, Other

NeedNoRecord(t) == TRUE

TakeTurns ==
  /\ \A t \in Term, n \in Node :
       vote'[t][n] = n /\ vote[t][n] # n => n = IF t % 2 = 1 THEN One ELSE Other
  /\ \A t \in Term :
       winners[t] # {} => Node \ {One, Other} \subseteq Voters(Config(leaderLog'[t]))
  /\ \A n \in Node :
       log'[n] # log[n] => \E t \in Term : log'[n] = leaderLog[t]
  (* It suffices that two nodes stand for election in turn, do not remove  *)
  (* any but one another, and that who stores anything stores all there    *)
  (* is.                                                                   *)

UsefulTurns == Useful /\ TakeTurns

Others == Permutations(Node \ {One, Other})
=============================================================================

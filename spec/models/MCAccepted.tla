----------------------------- MODULE MCAccepted -----------------------------
(***************************************************************************)
(* What the models of Accepted put in place of its definitions: smaller    *)
(* sets of things to be said, histories in which not everybody does        *)
(* everything, and guards taken away.                                      *)
(***************************************************************************)
EXTENDS Accepted, TLC

CONSTANTS n1, n2, n3

Nodes == Permutations(Node)

(* The guards that are conclusions, left out.                              *)

Concluded(a, b) == TRUE
CountedAgree(l, by) == by = "hearsay" => \A c \in committed : Comparable(c, l)

(* Groups that do not change, and groups that do.                          *)

Unchanged == {}
Alone == {{n1}}
All == SUBSET Node \ {{}}

(* A guard, a view or an event less.                                       *)

Any1(a) == TRUE
Any2(a, b) == TRUE
Any3(a, b, c) == TRUE
Any4(a, b, c, d) == TRUE
Never(n) == FALSE
Never2(n, to) == FALSE

(* What a line may say: all beginnings of all leaders' logs, and, of what  *)
(* nobody has written, all logs of one entry.                              *)

WrittenLogs ==
  {<<>>} \cup UNION {{Upto(written[t][w], i) : i \in 1..Len(written[t][w])} :
                      t \in Term, w \in Node}
SomeLogs == WrittenLogs \cup {<<e>> : e \in Entry}
OwnTerm(n) == {term[n]}
OwnVote(n, t) == IF t = 0 THEN {None} ELSE {vote[t][n]}

(* All positions that TruePosition or CampaignHeard admits.                *)

SomePositions ==
  {Position(log[n]) : n \in Node} \cup
  {asked[t][n].position : <<t, n>> \in {x \in Term \X Node : asked[x[1]][x[2]] # None}}

(* Histories in which all nodes run from the beginning.                    *)

Running ==
  /\ type = [n \in Node |-> "INIT"]
  /\ leads = [n \in Node |-> 0]
  /\ fenced = [n \in Node |-> FALSE]
  /\ term = [n \in Node |-> 0]
  /\ log = [n \in Node |-> <<>>]
  /\ synced = [n \in Node |-> 0]
  /\ vote = [t \in Term |-> [n \in Node |-> None]]
  /\ traced = [t \in Term |-> {}]
  /\ asked = [t \in Term |-> [n \in Node |-> None]]
  /\ winners = [t \in Term |-> {}]
  /\ written = [t \in Term |-> [n \in Node |-> <<>>]]
  /\ epoch = [t \in Term |-> [n \in Node |-> 0]]
  /\ belief = [t \in Term |-> "none"]
  /\ stored = [t \in Term |-> [n \in Node |-> <<>>]]
  /\ commit = [n \in Node |-> 0]
  /\ committed = {<<>>}
  /\ counted = [t \in Term |-> <<>>]
  /\ named = {}
  /\ acked = {}
  /\ promised = {}

(* Histories of the first term.  (There must be a second one: Fencing      *)
(* looks at pairs of terms.)                                               *)

OneTerm == \A n \in Node : term[n] <= 1

(* Histories with one candidate in each term, n1 and n2 in turn, which     *)
(* only n3 votes for and stores for.  So every two quorums have nothing    *)
(* but n3 in common, if they are of different candidates.                  *)
(* Each candidate has nothing but what it has written itself.  So n3 votes *)
(* for the other one only as long as it has stored nothing of the first:   *)
(* in a right run nobody commits anything after another leader has.  What  *)
(* leaders do who follow each other is in Succession, below.               *)

Candidate(t) == IF t % 2 = 1 THEN n1 ELSE n2
InTurn ==
  \A t \in Term : \A n \in Node :
    /\ asked[t][n] # None => n = Candidate(t)
    /\ n \in traced[t] \/ stored[t][n] # <<>> => n \in {Candidate(t), n3}

(* The same, and no term is without a winner, and none but n3 ever ends.   *)

OneByOne ==
  /\ InTurn
  /\ \A t \in Term \ {1} : term[Candidate(t)] >= t => winners[t-1] # {}
  /\ \A n \in {n1, n2} : type[n] # "DOWN"

(* Histories in which n1 is the candidate of term 1, and only n3 votes and *)
(* stores for it; then n3 of term 2, which so has all that was committed,  *)
(* by the help of n2.                                                      *)

Succession ==
  \A n \in Node :
    /\ asked[1][n] # None => n = n1
    /\ asked[2][n] # None => n = n3
    /\ n \in traced[1] \/ stored[1][n] # <<>> => n \in {n1, n3}
    /\ n \in traced[2] \/ stored[2][n] # <<>> => n \in {n2, n3}

(* The same, and n3 stands only once n1 has acknowledged a write.          *)

AfterWrite == Succession /\ (asked[2][n3] # None => acked # {})

(* Histories in which a leader writes only once it is active: the trace    *)
(* checker's LeaderAppends asks for that too.                              *)

WritersActive ==
  \A t \in Term, n \in Node : \A i \in DOMAIN written[t][n] :
    written[t][n][i][1] = t /\ ~IsRecord(written[t][n], i) => belief[t] \in {"leading", "left"}

(* Histories with one candidate in each term, n1 and n2 in turn, who write *)
(* nothing but configurations.                                             *)

OnlyChanges ==
  \A t \in Term, n \in Node :
    /\ asked[t][n] # None => n = Candidate(t)
    /\ \A i \in DOMAIN written[t][n] : IsRecord(written[t][n], i) \/ written[t][n][i][3] # {}

(* What does happen, put as if it did not: TLC has to find these violated, *)
(* or a model would show nothing of leaders who follow each other.         *)

NeverFollowed ==
  \A t, u \in Term : t < u /\ counted[t] # <<>> => counted[u] = <<>>
  (* Nobody commits anything after a leader of an earlier term has.        *)

NeverSucceeded ==
  \A a \in acked : \A t \in Term : t > a[2][1] => counted[t] = <<>>
  (* Nobody does after a write of an earlier term has been acknowledged.   *)
=============================================================================

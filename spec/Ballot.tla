------------------------------- MODULE Ballot -------------------------------
(***************************************************************************)
(* One election: the votes of a single term, and who won by them.          *)
(*                                                                         *)
(* This is the first of the three views of the protocol.  There is one     *)
(* instance of it for every term.  A node asks for votes by voting for     *)
(* itself, the others grant their vote to one of those who ask, and whom   *)
(* more than half of the nodes have voted for may call itself the winner.  *)
(* What only the winner may do in its term, appending to the log, is here  *)
(* too, so that nobody else can be seen doing it.                          *)
(*                                                                         *)
(* Left out, on purpose:                                                   *)
(*  - Logs.  Raft lets a node vote only for a candidate whose log is at    *)
(*    least as up to date as its own.  That decides whom a vote may go to, *)
(*    not how votes are counted, and it is checked on evidence instead     *)
(*    (guard UpToDate of the trace format).                                *)
(*  - Messages.  A request or a reply that is lost, late or repeated       *)
(*    changes no vote.  In particular a vote may be granted to a candidate *)
(*    that has long moved on to a later term; nobody wins by it.           *)
(*  - Crashes.  Votes are durable, so a crash changes nothing here.  A     *)
(*    node that comes back without its vote shows as a second vote, which  *)
(*    has no step.                                                         *)
(*  - Whether anybody wins.  The view says what may happen, and an         *)
(*    election with split votes ends without a winner.                     *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

CONSTANTS
  Node,     \* the voters of this term
  None      \* stands for "no vote"

ASSUME NodeAssumption == IsFiniteSet(Node) /\ None \notin Node

VARIABLES
  vote,     \* vote[n] is whom n has voted for in this term, or None
  winners   \* those who have counted a quorum of votes for themselves

vars == <<vote, winners>>

(***************************************************************************)
(* winners is a set, and nothing in the actions below keeps it from having *)
(* two elements.  That it never has is the theorem, not an assumption.     *)
(***************************************************************************)
TypeOK == /\ vote \in [Node -> Node \cup {None}]
          /\ winners \in SUBSET Node

-----------------------------------------------------------------------------
(* The guards.  spec/broken/ overrides them one at a time.                 *)

IsQuorum(S) == 2 * Cardinality(S) > Cardinality(Node)
  (* A set of voters decides when it is more than half of them, because    *)
  (* any two such sets have a voter in common.                             *)

MayVote(n) == vote[n] = None
  (* A node has one vote per term, and never takes it back.                *)

HasAsked(c) == vote[c] = c
  (* A candidate is a node that has voted for itself.                      *)

VotersFor(c) == {n \in Node : vote[n] = c}
  (* Everybody who has voted for c.                                        *)

-----------------------------------------------------------------------------
(* The actions.                                                            *)

Init == /\ vote = [n \in Node |-> None]
        /\ winners = {}
  (* At first nobody in this term has voted, let alone won.                *)

Campaign(c) == /\ MayVote(c)
               /\ vote' = [vote EXCEPT ![c] = c]
               /\ UNCHANGED winners
  (* c enters the election: it votes for itself.                           *)

Grant(n, c) == /\ n # c
               /\ MayVote(n)
               /\ HasAsked(c)
               /\ vote' = [vote EXCEPT ![n] = c]
               /\ UNCHANGED winners
  (* n gives its vote to c, who has asked for it.                          *)

Win(c) == /\ c \notin winners
          /\ HasAsked(c)
          /\ IsQuorum(VotersFor(c))
          /\ winners' = winners \cup {c}
          /\ UNCHANGED vote
  (* c counts its votes and finds that they suffice.  It may do so long    *)
  (* after the vote that decided was cast, and at most once.               *)

Append(c) == /\ c \in winners
             /\ UNCHANGED vars
  (* c adds entries of this term to its log.  Nothing in this view changes *)
  (* by that, but no other node has this step.                             *)

Next == \/ \E c \in Node : Campaign(c)
        \/ \E n \in Node, c \in Node : Grant(n, c)
        \/ \E c \in Node : Win(c)
        \/ \E c \in Node : Append(c)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What holds in every state.                                              *)

AtMostOneWinner == \A c, d \in winners : c = d
  (* Election safety: a term has no two leaders.  It follows from the two  *)
  (* invariants after this one, since two quorums share a voter and that   *)
  (* voter has one vote.                                                   *)

WinnerHasQuorum == \A c \in winners : IsQuorum(VotersFor(c))
  (* Whoever has won still has the votes it won by.                        *)

VotesWereAskedFor == \A n \in Node : vote[n] # None => vote[vote[n]] = vote[n]
  (* Every vote went to a candidate, that is, to a node that has voted for *)
  (* itself; so a winner has.                                              *)

Inv == TypeOK /\ AtMostOneWinner /\ WinnerHasQuorum /\ VotesWereAskedFor
  (* The conjunction.  It is inductive: every step of Next keeps it, from  *)
  (* any state that satisfies it (models/BallotInductive.cfg).             *)

THEOREM Spec => []Inv

(* What holds of every step.                                               *)

VotesStay == [][\A n \in Node : vote[n] # None => vote'[n] = vote[n]]_vars
  (* A vote, once cast, is cast.                                           *)

WinnersStay == [][winners \subseteq winners']_vars
  (* Nobody un-wins a term.  Losing the leadership is no matter of votes:  *)
  (* see Fencing.                                                          *)

THEOREM Spec => VotesStay /\ WinnersStay
=============================================================================

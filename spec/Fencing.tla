------------------------------ MODULE Fencing -------------------------------
(***************************************************************************)
(* Two leaders of different terms, and what keeps them from both writing.  *)
(*                                                                         *)
(* This is the second of the three views.  There is one instance of it for *)
(* every pair of terms that have a leader: "lo" is the leader of the       *)
(* earlier term, "hi" the leader of the later one.  However many leaders   *)
(* there have been, a split brain has two sides, and some pair shows it.   *)
(*                                                                         *)
(* A leader begins its term with an epoch record, the first entry of that  *)
(* term in the log.  Once the record is committed the leader may activate, *)
(* and only then does it write.  The record of the later leader is the     *)
(* fence: whatever of the earlier leader's is not committed by then never  *)
(* will be.                                                                *)
(*                                                                         *)
(* Two things about time have to be read with care.                        *)
(*                                                                         *)
(*  - CommitEpoch and Write are commitments, and they come in the order of *)
(*    the log.  What counts is the place of the entry, not the moment a    *)
(*    node learns of its commitment: "after the record" means "at a larger *)
(*    index".  So a deposed leader's entries may be committed without it,  *)
(*    by its successor and below the successor's record, and that is no    *)
(*    violation.                                                           *)
(*  - Claim, Activate and Lose are steps of one leader's mind.  The        *)
(*    earlier leader may activate late, when the later one's record is     *)
(*    already committed and it has not heard of it.  It then takes itself  *)
(*    for a leader but has no power: there is no Write for it any more.    *)
(*                                                                         *)
(* Left out, on purpose: elections (see Ballot), what node the two leaders *)
(* are (they may be the same one, elected twice: a claim belongs to a term *)
(* and not to a node), numbers of epochs, contents and positions of        *)
(* entries, and how an entry comes to be committed.  All of that is        *)
(* evidence, and is checked as such.                                       *)
(***************************************************************************)

Leader == {"lo", "hi"}
  (* The leader of the earlier term and the leader of the later one.       *)

Belief == {"none", "claiming", "leading", "gaveup", "left"}
  (* What a leader takes itself for:                                       *)
  (*   none      it has not won its term (yet, or ever);                   *)
  (*   claiming  it has won and waits for its epoch record;                *)
  (*   leading   it is active;                                             *)
  (*   gaveup    it stopped before it was active;                          *)
  (*   left      it stopped after it was active.                           *)

VARIABLES
  belief,     \* belief[x] is what x takes itself for
  committed,  \* committed[x] is TRUE iff the epoch record of x is committed
  bit         \* flips whenever an entry of either leader is committed

vars == <<belief, committed, bit>>

(***************************************************************************)
(* Without the bit a Write would change nothing, and since a specification *)
(* allows any step that changes nothing, nothing could be learned from a   *)
(* proof that a protocol refines this one.  The value of the bit means     *)
(* nothing.                                                                *)
(***************************************************************************)
TypeOK == /\ belief \in [Leader -> Belief]
          /\ committed \in [Leader -> BOOLEAN]
          /\ bit \in BOOLEAN

-----------------------------------------------------------------------------
(* The guards.  spec/broken/ overrides them one at a time.                 *)

Fenced(x) == x = "lo" /\ committed["hi"]
  (* The log already has the record of a later leader.  Nothing of x can   *)
  (* be committed any more: it would have to stand above that record.      *)

MayCommitEpoch(x) == /\ belief[x] \in {"claiming", "gaveup"}
                     /\ ~committed[x]
                     /\ ~Fenced(x)
  (* The record of x exists once x has won, and outlives x giving up.      *)

MayActivate(x) == /\ belief[x] = "claiming"
                  /\ committed[x]
  (* x must have its record committed.  It need not be unfenced: no node   *)
  (* can know that of itself, and no harm comes of it.                     *)

MayWrite(x) == /\ belief[x] \in {"leading", "left"}
               /\ committed[x]
               /\ ~Fenced(x)
  (* An entry of x can be committed: x has been active, so that there are  *)
  (* such entries, and no later leader's record bars the way.              *)

-----------------------------------------------------------------------------
(* The actions.                                                            *)

Init == /\ belief = [x \in Leader |-> "none"]
        /\ committed = [x \in Leader |-> FALSE]
        /\ bit = FALSE
  (* At first neither term has a leader.                                   *)

Claim(x) == /\ belief[x] = "none"
            /\ belief' = [belief EXCEPT ![x] = "claiming"]
            /\ UNCHANGED <<committed, bit>>
  (* x wins its term.  The earlier leader may do so later in time than the *)
  (* later one, when the votes reach it late.                              *)

CommitEpoch(x) == /\ MayCommitEpoch(x)
                  /\ committed' = [committed EXCEPT ![x] = TRUE]
                  /\ UNCHANGED <<belief, bit>>
  (* The epoch record of x is committed.                                   *)

Activate(x) == /\ MayActivate(x)
               /\ belief' = [belief EXCEPT ![x] = "leading"]
               /\ UNCHANGED <<committed, bit>>
  (* x has learned that its record is committed and becomes active.        *)

Write(x) == /\ MayWrite(x)
            /\ bit' = ~bit
            /\ UNCHANGED <<belief, committed>>
  (* An entry that x wrote while it was active is committed, maybe after   *)
  (* x has gone.                                                           *)

Lose(x) == /\ belief[x] \in {"claiming", "leading"}
           /\ belief' = [belief EXCEPT ![x] = IF @ = "claiming" THEN "gaveup" ELSE "left"]
           /\ UNCHANGED <<committed, bit>>
  (* x stops leading its term, for any reason: it has heard of a later     *)
  (* one, lost touch with a majority, crashed or ended.                    *)

Next == \/ \E x \in Leader : Claim(x)
        \/ \E x \in Leader : CommitEpoch(x)
        \/ \E x \in Leader : Activate(x)
        \/ \E x \in Leader : Write(x)
        \/ \E x \in Leader : Lose(x)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What holds in every state.                                              *)

NoSplitBrain == ~(MayWrite("lo") /\ MayWrite("hi"))
  (* There is no state from which an entry of either leader could be       *)
  (* committed.  Two leaders may both believe that they lead; the log      *)
  (* listens to one.                                                       *)

ActiveHasRecord == \A x \in Leader : belief[x] \in {"leading", "left"} => committed[x]
  (* Nobody is, or was, active without its epoch record committed.         *)

RecordHasClaim == \A x \in Leader : committed[x] => belief[x] # "none"
  (* Nobody has an epoch record without having won its term.               *)

Inv == TypeOK /\ NoSplitBrain /\ ActiveHasRecord /\ RecordHasClaim
  (* The conjunction.                                                      *)

THEOREM Spec => []Inv

(* What holds of every step.  None of these mentions a guard, so that they *)
(* notice when one is missing.                                             *)

RecordsInOrder == [][~committed["lo"] /\ committed["hi"] => ~committed'["lo"]]_vars
  (* Once the later record stands in the log, the earlier one will not     *)
  (* come to stand above it.                                               *)

FenceHolds == [][committed["hi"] /\ bit' # bit => belief["hi"] \in {"leading", "left"}]_vars
  (* Once the later record is committed, no entry is until the later       *)
  (* leader has activated: entries of the earlier leader have no chance.   *)

WriterHasRecord == [][bit' # bit => \E x \in Leader : committed[x]]_vars
  (* Before any epoch record, there is no committed entry of either.       *)

RecordsStay == [][\A x \in Leader : committed[x] => committed'[x]]_vars
  (* What is committed stays committed.                                    *)

BeliefsAdvance ==
  [][\A x \in Leader : \/ belief'[x] = belief[x]
                     \/ <<belief[x], belief'[x]>> \in { <<"none", "claiming">>,
                                                     <<"claiming", "leading">>,
                                                     <<"claiming", "gaveup">>,
                                                     <<"leading", "left">> }]_vars
  (* Nobody leads the same term twice: who wants to lead again has to win  *)
  (* a later one.                                                          *)

THEOREM Spec => /\ RecordsInOrder
                /\ FenceHolds
                /\ WriterHasRecord
                /\ RecordsStay
                /\ BeliefsAdvance
=============================================================================

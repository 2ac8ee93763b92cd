//! Every limit of the allocator: its unit and what happens at it.

/// Changed claims that are kept in a list of their own; more are found through the tree.
pub(super) const FEW_CLAIMS_MAX: usize = 16;
/// So many agents that have changed are looked at together at most to find out which claims with shapes they might serve;
/// where more have, all claims look at them.
pub(super) const AGENTS_SERVING_MAX: usize = 256;
/// Of a claim with more open entries that have shapes, it is not found out whether it refuses an agent with all of them.
pub(super) const ENTRIES_REFUSED_MAX: usize = 16;
/// Different shapes that are compared with what is free on an agent; where there are more, it is taken that one fits.
pub(super) const NEEDS_COMPARED_MAX: usize = 32;
/// Agents where something was held back for guarantees that are looked at again by themselves when that is over, and claims
/// from which it was; of more, all claims look at all agents.
pub(super) const HELD_BACK_MAX: usize = 1_024;
/// Different refused amounts that are remembered of an agent by themselves; beyond, only the newest are looked through
/// for one that is the same, so that some are kept twice.
pub(super) const REFUSALS_COMPARED_MAX: usize = 16;
/// Of the ends of exclusions, so many are looked at with each that is added, and those that have ended otherwise are taken
/// out: there are a few times as many as hold, and no step goes through all of them.
pub(super) const ENDS_LOOKED_AT: usize = 3;
/// Agents that earmarks keep back together: one in so many, and at least one. More earmarks wait. What a gang keeps is not
/// counted.
pub(super) const EARMARKED_ONE_IN: usize = 10;
/// Agents that one gang keeps at most, one gang at a time: one in so many. One that needs more keeps none.
pub(super) const EARMARKED_BY_GANG_ONE_IN: usize = 2;
/// How many times as long as it was waited for an earmark lasts; then another agent is chosen.
pub(super) const EARMARK_LASTS: u64 = 10;
/// A look at an agent of the index costs as much as so many: it lies anywhere in memory, and at first in none of the
/// processor's caches.
pub(super) const FAR_LOOK_STEPS: u32 = 2;
/// To find out whether something would fit on an agent if it were empty costs as much as so many looks.
pub(super) const EARMARK_LOOK_STEPS: u32 = 2;
/// An entry for which no agent is found waits twice as long for the next look, so often at most: for half an hour.
pub(super) const EARMARK_DOUBLINGS_MAX: u32 = 6;
/// Between looks for agents to keep, so much time passes for each look at one: ten times what it takes, so that a tenth of a
/// core goes into them at most.
pub(super) const EARMARK_STEP_NS: u64 = 5_000;
/// Looks that would take so much time by that may follow each other at once: four thousand steps.
pub(super) const EARMARK_LOOKS_AT_ONCE_NS: u64 = 4_000 * EARMARK_STEP_NS;
/// Agents where a claim was shut out are kept in a list; when it is longer than this and twice as long as there are agents,
/// those that are in it twice are taken out.
pub(super) const SHUT_AT_MIN: usize = 64;
/// A grant costs as much as so many looks, with the offer that the master makes of it: its id, its rows, and what is told of
/// it, all of which together cost five times as much as to decide it.
pub(super) const GRANT_STEPS: u32 = 50;
/// A grant that only makes one before it larger costs as much as so many looks.
pub(super) const GROWTH_STEPS: u32 = 5;
/// So many roles, groups and claims have their shares counted anew, and are put in order, for what one look costs.
pub(super) const SETTLED_PER_STEP: u32 = 4;
/// Agents with numbers beside each other that are looked at together when all are, because they lie together in memory; of
/// fewer than the square of this, the order is random in every way. Two such blocks are put in order for what one look costs.
pub(super) const NEIGHBOURS: usize = 32;
/// Agents that are fetched from memory side by side.
pub(super) const EXPECTED_TOGETHER: usize = 16;
/// Predicates and bounds of an entry that are looked at on an agent, or entries that are looked at for what they need, for what
/// one step costs.
pub(super) const CHECKS_PER_STEP: usize = 4;
/// Claims of a role that are gone through for what one step costs.
pub(super) const CLAIMS_PER_STEP: usize = 4;
/// Agents with something special that are listed for what one step costs.
pub(super) const SPECIAL_PER_STEP: usize = 64;
/// What the row of a role costs besides, in steps.
pub(super) const ROW_STEPS: u32 = 8;
/// Between the ranks of siblings, at first: so many may be put in at the end one after the other, and half as many bits in
/// the same place between two, before some ranks are given anew.
pub(super) const RANK_STEP: u64 = 1 << 32;
/// Between ranks that are given anew, at the least; as many siblings get new ones as it takes.
pub(super) const RANKS_APART_MIN: u64 = 1 << 16;
/// Seats of a tournament that are kept however few sit there; of more than these, when three of four are vacant, all are
/// seated anew.
pub(super) const SEATS_MIN: usize = 64;

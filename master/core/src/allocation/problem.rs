//! The problem, in integers. Nothing here is called: it is what the files beside it are to be read against.
//!
//! # Given
//!
//! - Names of scalars, numbered. An *amount* is a vector of whole thousandths, one for each name.
//! - *Agents*. Each has a total `T[a]`, and is active or not.
//! - A tree of *roles*. Each has a weight `w` (1,000 is one), and may have a guarantee `G` and limits `L`.
//! - *Claims*: a framework in a role. Each holds `H[c,a]` of each agent; offers and tasks alike.
//! - *Entries* of claims. Each wants `r` of something: of a shape `s`, an amount for each of `r` instances; or of whatever is
//!   free on an agent, `r` times, and then at least one of some amounts (`least`).
//! - *Exclusions* (entry, agent, refused amount, end): until the end the entry is not offered what the refused contains.
//! - A time, and a number that decides what is otherwise undecided: the order of agents.
//!
//! `F[a] = T[a] - Σc H[c,a]` is free. Of what is free and held, some is special: reserved for a role, revocable, a disk or
//! a volume, or no scalar at all (ports). For each role, with all beneath it, `R` is what is reserved for it, held or not,
//! and `C = R +` what its claims hold that is neither reserved nor revocable. `need = max(G - C, Σ need of the roles
//! beneath)`, not less than nothing; `required` is the sum of `need` over the roles at the top; `available` is all that is
//! free on active agents and neither reserved nor revocable.
//!
//! # Wanted
//!
//! Grants `g[c,a]`, added to `H[c,a]`, so that
//!
//! - **A** nothing is granted twice: `F[a]` stays at least nothing, name for name and thing for thing (only shared volumes
//!   are held by several).
//! - **B** nothing is granted of an inactive agent, or to an inactive framework, or to an entry beyond what it wants, or
//!   against its predicates, bounds (`at_most`), what it takes, or an exclusion that stands; reserved things go to claims of
//!   their role or beneath it.
//! - **C** limits hold: for no role with `L` does `C` pass `L` by a grant.
//! - **D** guarantees are kept: but for what goes to claims under a guarantee that is not met, grants leave
//!   `available ≥ required`, when it was so, and beneath a limit as much of what it leaves as guarantees beneath it need.
//! - **E** fairness: whatever can go to several claims goes to the first in order. Siblings in the tree are ordered by
//!   (share, allocations counted, path), where a share is the largest `H / ΣT` of any name that counts, divided by the
//!   weight. With shapes that divide, no exclusions and tasks that end, shares approach weighted max-min fairness.
//! - **F** a guarantee that is not met is served before everything else: of each agent where its claims take whatever is free,
//!   and with shapes for as many instances as come nearer to it.
//! - **G** nothing useful is left: after a run that is done, no active entry could be granted anything that C, D and earmarks
//!   allow; of gangs, all or nothing.
//! - **H** instances of a shape spread over the agents that can take them (or fill the fullest, when so configured).
//! - **I** nobody starves: an entry that has waited long keeps an agent from others on which it would fit when it is empty.
//! - **J** the same calls give the same grants.
//! - **K** a run costs what has changed: changed agents that have something free with the claims that could take it, and
//!   changed claims with the agents that have something free. Not agents times claims.
//!
//! Among all that satisfy these, the order of agents is drawn by lot.

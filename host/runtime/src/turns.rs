//! Whose turn it is on the guests' threads.
//!
//! Invariants
//! - At most as many turns at once as there are threads. A turn is one poll: until the run waits, and an epoch tick at most.
//! - Those who answer for runs take turns, however many runs each has, and of one's runs whoever waits longest is next. Those
//!   who needed little so far and those who compute have every other turn. So nobody waits for more than two turns of anybody
//!   else's, and whoever computes goes on, and hears that its time is over, however many begin.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::meter::Meter;

/// The turns of some threads.
pub(crate) struct Turns(Mutex<Line>);

#[derive(Default)]
struct Line {
    free: usize,
    little: Waiting,
    computing: Waiting,
    computing_next: bool,
}

/// Runs that wait, by whose they are; whoever's turn comes first at the front.
#[derive(Default)]
struct Waiting(VecDeque<(u128, VecDeque<Arc<Ticket>>)>);

/// A place in the line.
struct Ticket(Mutex<Standing>);

enum Standing {
    Waits(Waker),
    IsNext,
    Gone,
}

impl Turns {
    pub(crate) fn of(threads: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Line { free: threads, ..Line::default() })))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, or a place in the line.
    fn ask(&self, whose: u128, computes: bool, waker: &Waker) -> Option<Arc<Ticket>> {
        let mut line = self.line();
        if let Some(left) = line.free.checked_sub(1) {
            line.free = left;
            return None;
        }
        let ticket = Arc::new(Ticket(Mutex::new(Standing::Waits(waker.clone()))));
        let waiting = if computes { &mut line.computing } else { &mut line.little };
        waiting.push(whose, Arc::clone(&ticket));
        Some(ticket)
    }

    /// One turn is over: the next one's. Nobody is told before the line is let go of.
    fn pass_on(&self) {
        let told = self.line().pass_on();
        if let Some(told) = told {
            told.wake();
        }
    }
}

impl Line {
    fn pass_on(&mut self) -> Option<Waker> {
        let Self { free, little, computing, computing_next } = self;
        loop {
            let (first, then) =
                if *computing_next { (&mut *computing, &mut *little) } else { (&mut *little, &mut *computing) };
            let Some(ticket) = first.pop().or_else(|| then.pop()) else {
                *free += 1;
                return None;
            };
            *computing_next = !*computing_next;
            // Not, where nobody waits any more.
            if let Standing::Waits(told) = std::mem::replace(&mut *ticket.standing(), Standing::IsNext) {
                return Some(told);
            }
        }
    }
}

impl Waiting {
    fn push(&mut self, whose: u128, ticket: Arc<Ticket>) {
        match self.0.iter_mut().find(|(of, _)| *of == whose) {
            Some((_, tickets)) => tickets.push_back(ticket),
            None => self.0.push_back((whose, VecDeque::from([ticket]))),
        }
    }

    /// The next, whose others then stand behind everybody's.
    fn pop(&mut self) -> Option<Arc<Ticket>> {
        let (whose, mut tickets) = self.0.pop_front()?;
        let next = tickets.pop_front();
        if !tickets.is_empty() {
            self.0.push_back((whose, tickets));
        }
        next
    }
}

impl Ticket {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its turn has come. If not, this is whom to tell.
    fn has_come(&self, waker: &Waker) -> bool {
        let mut standing = self.standing();
        if let Standing::Waits(told) = &mut *standing {
            told.clone_from(waker);
        }
        matches!(*standing, Standing::IsNext)
    }
}

/// A run each of whose polls is a turn.
pub(crate) struct InTurn<F> {
    run: Pin<Box<F>>,
    turns: Arc<Turns>,
    whose: u128,
    meter: Arc<Meter>,
    ticket: Option<Arc<Ticket>>,
}

/// Ends whatever happens in it.
struct Turn<'t>(&'t Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl<F: Future> InTurn<F> {
    pub(crate) fn new(run: F, turns: Arc<Turns>, whose: u128, meter: Arc<Meter>) -> Self {
        Self { run: Box::pin(run), turns, whose, meter, ticket: None }
    }
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        match &this.ticket {
            None => this.ticket = this.turns.ask(this.whose, this.meter.computes(), context.waker()),
            Some(ticket) if ticket.has_come(context.waker()) => this.ticket = None,
            Some(_) => {}
        }
        if this.ticket.is_some() {
            return Poll::Pending;
        }
        let _turn = Turn(&this.turns);
        let polled = this.run.as_mut().poll(context);
        // Before its own is over: who goes on stands in line before anybody who comes now.
        if this.meter.was_interrupted() && polled.is_pending() {
            this.ticket = this.turns.ask(this.whose, this.meter.computes(), context.waker());
        }
        polled
    }
}

impl<F> Drop for InTurn<F> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let stood = std::mem::replace(&mut *ticket.standing(), Standing::Gone);
        // It was its turn already.
        if matches!(stood, Standing::IsNext) {
            self.turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;

    use super::*;

    /// Everybody who waits for a turn on one thread, which somebody else has.
    struct Everybody {
        turns: Arc<Turns>,
        waiting: Vec<(u128, bool, Arc<Ticket>)>,
    }

    impl Everybody {
        fn wait(runs: impl IntoIterator<Item = (u128, bool)>) -> Self {
            let turns = Turns::of(1);
            assert!(turns.ask(0, false, &noop_waker()).is_none(), "it is free");
            let mut all = Self { turns, waiting: Vec::new() };
            runs.into_iter().for_each(|(whose, computes)| all.waits(whose, computes));
            all
        }

        fn waits(&mut self, whose: u128, computes: bool) {
            let ticket = self.turns.ask(whose, computes, &noop_waker()).expect("it is somebody's");
            self.waiting.push((whose, computes, ticket));
        }

        /// Whose the next turn is; who had it waits again.
        fn next(&mut self) -> (u128, bool) {
            self.turns.pass_on();
            let come =
                self.waiting.iter().position(|(.., ticket)| ticket.has_come(&noop_waker())).expect("somebody is next");
            let (whose, computes, _) = self.waiting.remove(come);
            self.waits(whose, computes);
            (whose, computes)
        }
    }

    /// Mutation: `Waiting::push`, all behind one another.
    #[test]
    fn however_many_runs_somebody_has_the_others_have_as_many_turns() {
        let many = (0..24).map(|_| (1, true));
        let mut all = Everybody::wait(many.chain([(2, true), (3, true), (3, true)]));
        for _ in 0..10 {
            let mut had = [all.next().0, all.next().0, all.next().0];
            had.sort_unstable();
            assert_eq!(had, [1, 2, 3]);
        }
    }

    /// Mutation: `Line::pass_on`, those who needed little first, or last.
    #[test]
    fn who_needs_little_has_every_other_turn() {
        let computing = (1..9).map(|whose| (whose, true));
        let mut all = Everybody::wait(computing.chain((9..17).map(|whose| (whose, false))));
        let had: Vec<_> = (0..32).map(|_| all.next()).collect();
        for whose in 1..17 {
            assert_eq!(had.iter().filter(|(of, _)| *of == whose).count(), 2, "{whose}: {had:?}");
        }
        assert!(had.windows(2).all(|two| two[0].1 != two[1].1), "{had:?}");
    }

    /// Mutation: `InTurn`, without `Drop`: nobody has a turn any more.
    #[test]
    fn a_turn_that_nobody_takes_is_the_next_ones() {
        let mut all = Everybody::wait([(1, false), (2, false), (3, false)]);
        let mut in_turn = |nth: usize| {
            let (whose, _, ticket) = all.waiting.remove(nth);
            let mut run = InTurn::new(async {}, Arc::clone(&all.turns), whose, Arc::default());
            run.ticket = Some(ticket);
            run
        };
        // One that does not wait for its turn any more, and one whose turn it is.
        let (second, first) = (in_turn(1), in_turn(0));
        drop(second);
        all.turns.pass_on();
        drop(first);
        assert!(all.waiting.iter().all(|(.., ticket)| ticket.has_come(&noop_waker())), "it is the third one's");
        all.turns.pass_on();
        assert!(all.turns.ask(4, false, &noop_waker()).is_none(), "it is free again");
    }
}

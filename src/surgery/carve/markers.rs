//! Markers: which neurons of a feed-forward a token needs most.
//!
//! CMoE (<https://arxiv.org/abs/2502.04416>) marks the largest normalized activations. Here a neuron's contribution is
//! what it adds to the output, `|h_tj| ||d_j||`, where `h_t = silu(x_t G) * (x_t U)` and `d_j` is row `j` of the down
//! projection.

use rayon::prelude::*;

/// Share of the neurons that a token marks.
const SHARE: usize = 16;

/// Bits per word.
const WORD: usize = u64::BITS as usize;

/// Marks of all tokens, one bit per neuron.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Markers {
    width: usize,
    bits: Vec<u64>,
    counts: Vec<u64>,
    strengths: Vec<f64>,
}

impl Markers {
    /// No tokens, for a feed-forward of `width` neurons.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            bits: Vec::new(),
            counts: vec![0; width],
            strengths: vec![0.0; width],
        }
    }

    /// Number of neurons that a token marks: a sixteenth of them, rounded up.
    pub fn per_token(&self) -> usize {
        self.width.div_ceil(SHARE)
    }

    fn words(&self) -> usize {
        self.width.div_ceil(WORD)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.bits.len() / self.words().max(1)
    }

    /// Number of tokens that mark each neuron, `[width]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Sum of each neuron's contributions, `[width]`; it orders neurons that are marked equally often.
    pub fn strengths(&self) -> &[f64] {
        &self.strengths
    }

    /// Adds tokens.
    ///
    /// # Shapes
    ///
    /// - activations: `[tokens, width]`, row-major; sizes, the lengths of the rows of the down projection: `[width]`
    pub fn add(&mut self, activations: &[f32], sizes: &[f32]) {
        let (width, words, marked) = (self.width, self.words(), self.per_token());
        let first = self.bits.len();
        self.bits
            .resize(first + activations.len() / width * words, 0);
        let tokens = activations.par_chunks(width);
        let tokens = tokens.zip(self.bits[first..].par_chunks_mut(words));
        // pieces of fixed length, so that sums do not depend on the number of threads
        let sums: Vec<Vec<f64>> = tokens
            .chunks(PIECE)
            .map(|tokens| {
                let mut sums = vec![0.0; width];
                let mut given = vec![0.0; width];
                let mut sorted = Vec::with_capacity(width);
                for (token, bits) in tokens {
                    for (((given, sum), h), size) in
                        given.iter_mut().zip(&mut sums).zip(token).zip(sizes)
                    {
                        *given = h.abs() * size;
                        *sum += f64::from(*given);
                    }
                    mark(&given, marked, bits, &mut sorted);
                }
                sums
            })
            .collect();
        for sums in sums {
            for (strength, sum) in self.strengths.iter_mut().zip(sums) {
                *strength += sum;
            }
        }
        let counts = &mut self.counts;
        for bits in self.bits[first..].chunks(words) {
            neurons(bits).for_each(|neuron| counts[neuron] += 1);
        }
    }

    /// For every token, in pieces of tokens, the neurons that it marks.
    pub(super) fn pieces(&self) -> impl IndexedParallelIterator<Item = Piece<'_>> {
        let words = self.words();
        let pieces = self.bits.par_chunks(PIECE * words).enumerate();
        pieces.map(move |(at, bits)| Piece {
            first: at * PIECE,
            words,
            bits,
        })
    }
}

/// Tokens that one thread handles at a time.
pub(super) const PIECE: usize = 512;

/// The marks of some tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Number of the first token.
    pub(super) first: usize,
    words: usize,
    bits: &'a [u64],
}

impl<'a> Piece<'a> {
    /// The neurons that each token marks, in ascending order.
    pub(super) fn tokens(&self) -> impl Iterator<Item = impl Iterator<Item = usize> + 'a> + 'a {
        self.bits.chunks(self.words).map(neurons)
    }
}

/// Positions of the bits that are set.
fn neurons(bits: &[u64]) -> impl Iterator<Item = usize> + '_ {
    bits.iter().enumerate().flat_map(|(at, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(at * WORD + bit)
        })
    })
}

/// Sets the bits of the `marked` largest contributions; of equal ones, those of the first neurons.
fn mark(given: &[f32], marked: usize, bits: &mut [u64], sorted: &mut Vec<f32>) {
    sorted.clear();
    sorted.extend_from_slice(given);
    let (_, &mut least, _) = sorted.select_nth_unstable_by(marked - 1, |a, b| b.total_cmp(a));
    let mut set = |neuron: usize| bits[neuron / WORD] |= 1 << (neuron % WORD);
    let mut left = marked;
    for (neuron, given) in given.iter().enumerate() {
        if given.total_cmp(&least).is_gt() {
            set(neuron);
            left -= 1;
        }
    }
    let equal = given
        .iter()
        .enumerate()
        .filter(|(_, given)| **given == least);
    equal.take(left).for_each(|(neuron, _)| set(neuron));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(markers: &Markers) -> Vec<Vec<usize>> {
        let pieces: Vec<Vec<Vec<usize>>> = markers
            .pieces()
            .map(|piece| piece.tokens().map(Iterator::collect).collect())
            .collect();
        pieces.concat()
    }

    #[test]
    fn a_token_marks_its_largest_contributions_and_not_its_largest_activations() {
        let mut markers = Markers::new(20);
        assert_eq!(markers.per_token(), 2);
        let mut activations = [0.0; 40];
        (activations[3], activations[4], activations[5]) = (9.0, -2.0, 1.5);
        (activations[20], activations[39]) = (1.0, -1.0);
        let mut sizes = [1.0; 20];
        sizes[3] = 0.1;
        markers.add(&activations[..20], &sizes);
        markers.add(&activations[20..], &sizes);
        assert_eq!(markers.tokens(), 2);
        assert_eq!(marked(&markers), [vec![4, 5], vec![0, 19]]);
        assert_eq!(markers.counts()[4], 1);
        assert_eq!(markers.counts()[3], 0);
        assert!((markers.strengths()[3] - 0.9).abs() < 1e-6);
    }

    #[test]
    fn of_equal_contributions_exactly_as_many_are_marked_as_of_others() {
        let mut markers = Markers::new(130);
        markers.add(&[0.5; 130 * 700], &[1.0; 130]);
        let marked = marked(&markers);
        assert_eq!(marked.len(), 700);
        assert!(
            marked
                .iter()
                .all(|of_token| *of_token == (0..9).collect::<Vec<_>>())
        );
        assert_eq!(markers.counts().iter().sum::<u64>(), 700 * 9);
    }
}

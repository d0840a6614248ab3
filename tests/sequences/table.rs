//! The tested sequences. [`Row`](super::run::Row) defines the format of a line.

pub(super) const ROWS: &[&[&str]] = &[
    // a finished run
    &["new => done 6", "resume => finished", "resume => finished"],
    &[
        "new --steps 2 => done 2",
        "resume --steps 3 => done 3",
        "resume => finished",
        "use",
    ],
    &[
        "new => done 6",
        "resume --steps 3 => finished",
        "resume --steps 6 => finished",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 => done 4",
        "resume --steps 5 => done 5",
        "resume => finished",
    ],
    &[
        "new --steps 1 => done 1",
        "resume --steps 2 => done 2",
        "resume --steps 1 => finished",
    ],
    &[
        "new --steps 4 => done 4",
        "resume --steps 4 => finished",
        "named --steps +1 => done 5",
    ],
    // changed settings
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --learning-rate 0.0001 => done 4",
        "resume --steps 5 => done 5",
        "lr 0.0001 from 3",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --learning-rate 0.01 => done 4",
        "resume => finished",
        "config training.learning_rate 0.01",
    ],
    &[
        "new --steps 3 => done 3",
        "resume --steps 6 --schedule cosine => done 6",
        "config training.schedule.type \"cosine\"",
    ],
    &[
        "new --schedule cosine --steps 3 => done 3",
        "resume --steps 6 --schedule wsd => done 6",
        "resume --steps 7 => done 7",
        "config training.schedule.type \"wsd\"",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --batch-size 3 => done 4",
        "config training.batch_size 3",
        "tokens 240",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --batch-size 1 --accumulation 2 => done 4",
        "tokens 192",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --seq-len 16 => done 4",
        "tokens 160",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --seq-len 48 => done 4",
        "resume --steps 5 => done 5",
        "tokens 384",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --precision bf16 => done 4",
        "resume --steps 5 --precision f32 => done 5",
    ],
    &[
        "new --steps 3 => done 3",
        "resume --steps 5 --checkpoint-every 1 --keep-checkpoints 4 --eval-every 1 => done 5",
        "config training.keep_checkpoints 4",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --data moved.jsonl => done 4",
        "resume --steps 5 => done 5",
        "config data.valid [\"valid.jsonl\"]",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --config config.json --steps 4 => done 4",
        "resume --config config.json => finished",
    ],
    // settings that would make another run
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --seed 9 => refused `training.seed` is 9",
        "resume --steps 4 => done 4",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --mix code=0.5 => refused `data.mix",
        "resume --steps 3 => done 3",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --domain-dropout 0.9 => refused `data.domain_dropout` is 0.9",
        "use",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --train-tokenizer 300 => refused `model.vocab_size` is 300",
        "resume => finished",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --domains hard => refused `model.domains.mode`",
        "resume --steps 4 => done 4",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --data other.jsonl => refused data",
        "resume --steps 4 => done 4",
    ],
    &[
        "new --steps 2 => done 2",
        "resume --steps 4 --data bad.jsonl => refused line 2",
        "resume --steps 4 --params tiny => refused leave `--resume` out",
        "resume --steps 3 => done 3",
    ],
    &[
        "new --steps 2 => done 2",
        "new --steps 4 => refused holds a run already",
        "resume --steps 4 --learning-rate -1 => refused",
        "resume --steps 4 --seq-len 4096 => refused",
        "resume --steps 3 => done 3",
    ],
    // the best checkpoint is kept
    &[
        "new --eval-every 1 --checkpoint-every 1 --keep-checkpoints 1 => done 6",
        "resume --steps 8 => done 8",
    ],
    &[
        "new --steps 3 --eval-every 1 --checkpoint-every 1 --keep-checkpoints 1 => done 3",
        "resume --steps 8 --learning-rate 0.5 => done 8",
        "resume --steps 10 --learning-rate 0.3 => done 10",
        "use",
    ],
    &[
        "new --steps 4 --learning-rate 0.3 --eval-every 2 --keep-checkpoints 1 => done 4",
        "resume --steps 8 --learning-rate 0.002 --seq-len 32 => done 8",
    ],
    // killed before the first checkpoint
    &[
        "new --steps 300 --checkpoint-every 0 !KILL@2 => killed",
        "use => refused --resume",
        "resume --steps 3 => done 3",
        "resume => finished",
    ],
    &[
        "new --steps 300 --checkpoint-every 0 !KILL@2 => killed",
        "new --steps 2 => done 2",
        "use",
    ],
    &[
        "new --steps 300 --checkpoint-every 0 !KILL@0 => killed",
        "resume --steps 2 => done 2",
    ],
    &[
        "new --steps 300 --checkpoint-every 0 !INT@0 => stopped",
        "named --steps +2 => done",
    ],
    &[
        "new --steps 300 --checkpoint-every 0 !KILL@1 => killed",
        "resume !KILL@1 => killed",
        "resume !INT@1 => stopped",
        "named --steps +2 => done",
    ],
    &[
        "new --steps 300 --checkpoint-every 0 !KILL@1 => killed",
        "unmake",
        "use => refused begin it again",
        "resume => refused begin it again",
        "new --steps 2 => done 2",
    ],
    // interrupts
    &[
        "new --steps 300 !INT@3 => stopped",
        "use",
        "named --steps +2 => done",
        "resume => finished",
    ],
    &[
        "new --steps 300 !TERM@3 => stopped",
        "named --steps +2 => done",
    ],
    &[
        "new --steps 300 !HUP@3 => stopped",
        "resume !INT@3 => stopped",
        "resume --steps +1 => done",
    ],
    &[
        "new --steps 300 --checkpoint-every 0 !INT@5 => stopped",
        "new => refused holds a run already",
        "named --steps +2 => done",
    ],
    &[
        "new --steps 300 !INT,INT@3 => killed",
        "resume --steps +2 => done",
    ],
    &[
        "new --steps 300 !INT@2 => stopped",
        "resume --learning-rate 0.0005 --batch-size 1 !INT@2 => stopped",
        "resume !TERM@2 => stopped",
        "config training.batch_size 1",
        "resume --steps 1 => finished",
    ],
    &[
        "new --steps 300 --eval-every 1 --checkpoint-every 1 --keep-checkpoints 1 !INT@4 => stopped",
        "resume --steps +3 --learning-rate 0.4 => done",
    ],
    // kills
    &[
        "new --steps 300 !KILL@3 => killed",
        "resume !KILL@2 => killed",
        "resume !KILL@5 => killed",
        "resume --steps +2 => done",
        "resume => finished",
    ],
    &[
        "new --steps 300 --checkpoint-every 1 --keep-checkpoints 1 !KILL@4 => killed",
        "resume --schedule cosine --learning-rate 0.001 !KILL@3 => killed",
        "resume --steps +2 => done",
    ],
    &[
        "new --steps 300 --accumulation 2 !TERM@2 => stopped",
        "resume !KILL@3 => killed",
        "resume --steps 1 => finished",
        "resume --steps +1 --accumulation 1 => done",
    ],
    // lost files
    &[
        "new => done 6",
        "remove report.html",
        "resume => done 6",
        "resume => finished",
    ],
    &[
        "new => done 6",
        "remove metrics.jsonl",
        "resume => finished",
        "resume --steps 8 => done 8",
    ],
    &[
        "new => done 6",
        "remove checkpoints/step-0000006",
        "resume => done 6",
        "resume => finished",
    ],
    &[
        "new => done 6",
        "flip checkpoints/step-0000006/state.json",
        "resume --steps 8 => refused is damaged",
        "remove checkpoints/step-0000006",
        "resume --steps 8 => done 8",
    ],
    &[
        "new --keep-checkpoints 3 => done 6",
        "flip checkpoints/step-0000006/config.json",
        "resume --steps 8 => refused is damaged",
        "remove checkpoints/step-0000006",
        "resume --steps 5 => done 5",
    ],
];

# How a workdir of a format is made, by the version whose format it is: bash made.sh format_0
python -m experiments.dcgan --workdir="$1" --resolution=8 --width=4 --latent-dim=8 --batch-size=16 \
  --limit=64 --steps=4 --log-every=2 --learning-rate=0.1 --ema-decay=0.5 \
  --no-compilation-cache --no-report
python -m experiments.sample --workdir="$1" --num=16 --seed=5 --out="$1.npz"
rm -r "$1/tensorboard" "$1/samples" "$1/lock"

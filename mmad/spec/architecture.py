"""Which setups ask for detectors of equal modules."""

from __future__ import annotations

from mmad.spec.setup import ModelSetup

#: Fields of a setup that change no module's size: setups that differ in these alone have equal detectors.
WITHOUT_EFFECT = frozenset(
    {
        "name",
        "best_ar_val_model_path",
        "best_ap_val_model_path",
        "final_model_path",
        "use_early_stop_model",
        "record_training_performance",
        "measure_test",
        "dataset_mode",
        "clinical_values",
        "gt_in_train_till",
        "optimiser",
        "lr",
        "momentum",
        "weight_decay",
        "batch_size",
        "gradient_accumulation",
        "gradient_clip_norm",
        "mixed_precision",
        "channels_last",
        "warmup_epochs",
        "lr_scheduler",
        "plateau_metric",
        "reduceLROnPlateau_factor",
        "reduceLROnPlateau_patience",
        "reduceLROnPlateau_full_stop",
        "multiStepLR_milestones",
        "multiStepLR_gamma",
        "loss_weights",
        "learned_loss_weights",
        "horizontal_flip",
    }
)


def architecture(setup: ModelSetup) -> str:
    """A text that is equal for setups whose detectors have equal modules."""
    return setup.model_dump_json(exclude=set(WITHOUT_EFFECT))

BEGIN TRANSACTION;
CREATE TABLE ablations (
	name VARCHAR(255) NOT NULL, 
	title TEXT NOT NULL, 
	description TEXT NOT NULL, 
	path TEXT NOT NULL, 
	source TEXT NOT NULL, 
	compare TEXT NOT NULL, 
	added DATETIME NOT NULL, 
	CONSTRAINT pk_ablations PRIMARY KEY (name)
);
INSERT INTO "ablations" VALUES('old','Runs of an earlier version','','/ablations/old.toml','title = "Runs of an earlier version"
on_out_of_memory = "accumulate"

[phantom]
studies = 16

[setup]
backbone = "custom2"
image_size = 32
pretrained = false
batch_size = 2
lr = 0.01
backbone_out_channels = 4
representation_size = 8
anchor_sizes = [8, 16]
clinical_input_channels = 11
clinical_conv_channels = 4
fuse_conv_channels = 4
rpn_post_nms_top_n_train = 12
rpn_post_nms_top_n_test = 12
box_batch_size_per_image = 8
box_detections_per_img = 4

[arms.CXR]
use_clinical = false
[arms."CXR+Clinical"]
use_clinical = true

[[settings]]
name = "depth 1"
fuse_depth = 1

[[settings]]
name = "depth 2"
fuse_depth = 2

[[settings]]
name = "longer"
fuse_depth = 2
epochs = 3
continue_from = { setting = "depth 2" }

[[settings]]
name = "halved"
fuse_depth = 2
lr = 0.02

[[settings]]
name = "interrupted"
fuse_depth = 2
lr = 0.005
epochs = 4

[protocol]
epochs = 2
','[["CXR", "CXR+Clinical"]]','2026-11-29 16:46:41.800723');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE analyses (
	id INTEGER NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	subject TEXT NOT NULL, 
	value TEXT NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_analyses PRIMARY KEY (id), 
	CONSTRAINT uq_analyses_key UNIQUE ("key")
);
CREATE TABLE checkpoints (
	run_key VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	epoch INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_checkpoints PRIMARY KEY (run_key, kind), 
	CONSTRAINT fk_checkpoints_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
CREATE TABLE device_memory (
	need VARCHAR(64) NOT NULL, 
	device VARCHAR(255) NOT NULL, 
	bytes BIGINT NOT NULL, 
	measured DATETIME NOT NULL, 
	CONSTRAINT pk_device_memory PRIMARY KEY (need, device)
);
CREATE TABLE documented_entries (
	log VARCHAR(255) NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	content TEXT NOT NULL, 
	CONSTRAINT pk_documented_entries PRIMARY KEY (log, id), 
	CONSTRAINT fk_documented_entries_log_documented_logs FOREIGN KEY(log) REFERENCES documented_logs (name) ON DELETE CASCADE
);
CREATE TABLE documented_logs (
	name VARCHAR(255) NOT NULL, 
	path TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	content TEXT NOT NULL, 
	imported DATETIME NOT NULL, 
	CONSTRAINT pk_documented_logs PRIMARY KEY (name)
);
CREATE TABLE environments (
	id INTEGER NOT NULL, 
	run_key VARCHAR(64) NOT NULL, 
	started DATETIME NOT NULL, 
	host TEXT NOT NULL, 
	platform TEXT NOT NULL, 
	python TEXT NOT NULL, 
	versions TEXT NOT NULL, 
	device TEXT NOT NULL, 
	threads INTEGER NOT NULL, 
	git_commit TEXT, 
	git_dirty BOOLEAN, 
	command TEXT NOT NULL, 
	from_epoch INTEGER NOT NULL, 
	CONSTRAINT pk_environments PRIMARY KEY (id), 
	CONSTRAINT fk_environments_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
CREATE TABLE epochs (
	run_key VARCHAR(64) NOT NULL, 
	epoch INTEGER NOT NULL, 
	lr DOUBLE, 
	seconds DOUBLE, 
	peak_memory BIGINT NOT NULL, 
	committed DATETIME NOT NULL, 
	replaced INTEGER NOT NULL, 
	CONSTRAINT pk_epochs PRIMARY KEY (run_key, epoch), 
	CONSTRAINT fk_epochs_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
INSERT INTO "epochs" VALUES('25b8f72ad8880c0883716c288d2350d33cf75855ee1ca57735208ccb427f88ea',1,0.01,0.873494108000159,812167168,'2026-11-29 16:45:58.660881',0);
INSERT INTO "epochs" VALUES('67e88db3d8d5ba8a274d7a91660b4f10857a328d4043d3742242b4747e76a465',1,0.01,6.50502079000943922437e-01,805863424,'2026-11-29 16:45:59.402128',0);
INSERT INTO "epochs" VALUES('25b8f72ad8880c0883716c288d2350d33cf75855ee1ca57735208ccb427f88ea',2,0.01,7.16843562999201822094e-01,817147904,'2026-11-29 16:45:59.573086',0);
INSERT INTO "epochs" VALUES('67e88db3d8d5ba8a274d7a91660b4f10857a328d4043d3742242b4747e76a465',2,0.01,6.37950067999554448761e-01,810172416,'2026-11-29 16:46:00.200907',0);
INSERT INTO "epochs" VALUES('f1c523c8d65c1424cd8f2417271f566e8561051b6e919c640e8ff01907b66b48',1,0.01,5.51754581998466164804e-01,851234816,'2026-11-29 16:46:01.873928',0);
INSERT INTO "epochs" VALUES('d9afcca86931498763c29a63abea39e8eb4733fbcf47064634ba88c0ae7a4e81',1,0.01,6.37539082001239876262e-01,843575296,'2026-11-29 16:46:02.453890',0);
INSERT INTO "epochs" VALUES('f1c523c8d65c1424cd8f2417271f566e8561051b6e919c640e8ff01907b66b48',2,0.01,5.20995631999539909884e-01,851234816,'2026-11-29 16:46:02.543435',0);
INSERT INTO "epochs" VALUES('d9afcca86931498763c29a63abea39e8eb4733fbcf47064634ba88c0ae7a4e81',2,0.01,0.687645848000102,843575296,'2026-11-29 16:46:03.273059',0);
INSERT INTO "epochs" VALUES('08e64bd2da0fcddff721b40f4a69f35fac6fd9c1e9feda715a3e40bea240da3a',1,0.01,5.51754581998466164804e-01,851234816,'2026-11-29 16:46:04.033883',0);
INSERT INTO "epochs" VALUES('08e64bd2da0fcddff721b40f4a69f35fac6fd9c1e9feda715a3e40bea240da3a',2,0.01,5.20995631999539909884e-01,851234816,'2026-11-29 16:46:04.245280',0);
INSERT INTO "epochs" VALUES('08e64bd2da0fcddff721b40f4a69f35fac6fd9c1e9feda715a3e40bea240da3a',3,0.01,4.60996535000958829186e-01,851447808,'2026-11-29 16:46:04.825447',0);
INSERT INTO "epochs" VALUES('28182d67aa0f2ea4094724db0e52ffb7f7e2d5974776b0308aff8e3bf5026545',1,0.01,6.37539082001239876262e-01,843575296,'2026-11-29 16:46:04.934781',0);
INSERT INTO "epochs" VALUES('28182d67aa0f2ea4094724db0e52ffb7f7e2d5974776b0308aff8e3bf5026545',2,0.01,0.687645848000102,843575296,'2026-11-29 16:46:05.401591',0);
INSERT INTO "epochs" VALUES('28182d67aa0f2ea4094724db0e52ffb7f7e2d5974776b0308aff8e3bf5026545',3,0.01,6.37956712000232073478e-01,854085632,'2026-11-29 16:46:06.148924',0);
INSERT INTO "epochs" VALUES('feae619504021b4c724903be86b46338cd8287fe8c0ad78712d2a605b68f3ff9',1,0.02,8.29815896999207325279e-01,812867584,'2026-11-29 16:46:28.094598',0);
INSERT INTO "epochs" VALUES('ffc8689455f218dbb2450a5e72f53cf55a3741277b3ad75d73d489214c15daae',1,0.02,6.33394755999688641168e-01,805851136,'2026-11-29 16:46:28.494520',0);
INSERT INTO "epochs" VALUES('feae619504021b4c724903be86b46338cd8287fe8c0ad78712d2a605b68f3ff9',2,0.02,5.35467106001306092366e-01,819060736,'2026-11-29 16:46:28.773563',0);
INSERT INTO "epochs" VALUES('ffc8689455f218dbb2450a5e72f53cf55a3741277b3ad75d73d489214c15daae',2,0.02,6.3325912499931291677e-01,805892096,'2026-11-29 16:46:29.261044',0);
INSERT INTO "epochs" VALUES('0dcd4b9805022dbb5fe27d26e0c1aa1d7321192d1c5f1f7a617479f60c4fff36',1,0.005,8.35832871000093291513e-01,812761088,'2026-11-29 16:46:53.978047',0);
CREATE TABLE evaluation_classes (
	evaluation_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	ap DOUBLE, 
	ar DOUBLE, 
	CONSTRAINT pk_evaluation_classes PRIMARY KEY (evaluation_id, position), 
	CONSTRAINT fk_evaluation_classes_evaluation_id_evaluations FOREIGN KEY(evaluation_id) REFERENCES evaluations (id) ON DELETE CASCADE
);
CREATE TABLE evaluations (
	id INTEGER NOT NULL, 
	run_key VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	epoch INTEGER NOT NULL, 
	split VARCHAR(16) NOT NULL, 
	overlap VARCHAR(16) NOT NULL, 
	threshold DOUBLE NOT NULL, 
	max_detections INTEGER NOT NULL, 
	proposals VARCHAR(32) NOT NULL, 
	ap DOUBLE, 
	ar DOUBLE, 
	detections TEXT, 
	CONSTRAINT pk_evaluations PRIMARY KEY (id), 
	CONSTRAINT fk_evaluations_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE, 
	CONSTRAINT uq_evaluations UNIQUE (run_key, kind, split, overlap, threshold, max_detections, proposals)
);
CREATE TABLE members (
	ablation VARCHAR(255) NOT NULL, 
	setting VARCHAR(255) NOT NULL, 
	arm VARCHAR(255) NOT NULL, 
	seed INTEGER NOT NULL, 
	replicate INTEGER NOT NULL, 
	run_key VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	documented VARCHAR(64), 
	overlap VARCHAR(16) NOT NULL, 
	threshold DOUBLE NOT NULL, 
	max_detections INTEGER NOT NULL, 
	proposals VARCHAR(32) NOT NULL, 
	inferred TEXT NOT NULL, 
	overrides TEXT NOT NULL, 
	CONSTRAINT pk_members PRIMARY KEY (ablation, setting, arm, seed, replicate), 
	CONSTRAINT fk_members_ablation_ablations FOREIGN KEY(ablation) REFERENCES ablations (name) ON DELETE CASCADE, 
	CONSTRAINT fk_members_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key")
);
INSERT INTO "members" VALUES('old','depth 1','CXR',0,1,'67e88db3d8d5ba8a274d7a91660b4f10857a328d4043d3742242b4747e76a465',0,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','depth 1','CXR+Clinical',0,1,'25b8f72ad8880c0883716c288d2350d33cf75855ee1ca57735208ccb427f88ea',1,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','depth 2','CXR',0,1,'f1c523c8d65c1424cd8f2417271f566e8561051b6e919c640e8ff01907b66b48',2,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','depth 2','CXR+Clinical',0,1,'d9afcca86931498763c29a63abea39e8eb4733fbcf47064634ba88c0ae7a4e81',3,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','longer','CXR',0,1,'08e64bd2da0fcddff721b40f4a69f35fac6fd9c1e9feda715a3e40bea240da3a',4,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','longer','CXR+Clinical',0,1,'28182d67aa0f2ea4094724db0e52ffb7f7e2d5974776b0308aff8e3bf5026545',5,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','halved','CXR',0,1,'ffc8689455f218dbb2450a5e72f53cf55a3741277b3ad75d73d489214c15daae',6,NULL,'iou',0.5,10,'clean','[]','["batch_size=1", "gradient_accumulation=2"]');
INSERT INTO "members" VALUES('old','halved','CXR+Clinical',0,1,'feae619504021b4c724903be86b46338cd8287fe8c0ad78712d2a605b68f3ff9',7,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','interrupted','CXR',0,1,'48178ac8505198a19e31d782b272be021ed0eac0a50a7b841fcd7ed4f6340784',8,NULL,'iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('old','interrupted','CXR+Clinical',0,1,'0dcd4b9805022dbb5fe27d26e0c1aa1d7321192d1c5f1f7a617479f60c4fff36',9,NULL,'iou',0.5,10,'clean','[]','[]');
CREATE TABLE metrics (
	run_key VARCHAR(64) NOT NULL, 
	epoch INTEGER NOT NULL, 
	split VARCHAR(16) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	value DOUBLE, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_metrics PRIMARY KEY (run_key, epoch, split, name), 
	CONSTRAINT fk_metrics_run_key_epochs FOREIGN KEY(run_key, epoch) REFERENCES epochs (run_key, epoch) ON DELETE CASCADE
);
CREATE TABLE parameter_counts (
	run_key VARCHAR(64) NOT NULL, 
	module VARCHAR(255) NOT NULL, 
	count BIGINT NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_parameter_counts PRIMARY KEY (run_key, module), 
	CONSTRAINT fk_parameter_counts_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
CREATE TABLE "runs" (
	"key" VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	setup TEXT NOT NULL, 
	protocol TEXT NOT NULL, 
	dataset_name TEXT NOT NULL, 
	dataset_path TEXT NOT NULL, 
	dataset_fingerprint VARCHAR(64) NOT NULL, 
	recipe INTEGER NOT NULL, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	finished DATETIME, 
	error TEXT, 
	owner_host TEXT, 
	owner_pid INTEGER, 
	owner_started DOUBLE, 
	owner_boot TEXT, priority INTEGER DEFAULT '0' NOT NULL, attempts INTEGER DEFAULT '0' NOT NULL, device TEXT, heartbeat DATETIME, stop_asked BOOLEAN DEFAULT 0 NOT NULL, stand_in VARCHAR(64), 
	CONSTRAINT pk_runs PRIMARY KEY ("key"), 
	CONSTRAINT ck_runs_status CHECK (status IN ('queued', 'claimed', 'running', 'finished', 'failed', 'interrupted', 'stopped'))
);
INSERT INTO "runs" VALUES('67e88db3d8d5ba8a274d7a91660b4f10857a328d4043d3742242b4747e76a465',0,'finished','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 1, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.020785','2026-11-29 16:45:44.201928','2026-11-29 16:46:00.213499',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('25b8f72ad8880c0883716c288d2350d33cf75855ee1ca57735208ccb427f88ea',1,'finished','{"use_clinical": true, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 1, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.020863','2026-11-29 16:45:44.254662','2026-11-29 16:45:59.606161',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('f1c523c8d65c1424cd8f2417271f566e8561051b6e919c640e8ff01907b66b48',2,'finished','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021019','2026-11-29 16:46:00.563775','2026-11-29 16:46:02.567464',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('d9afcca86931498763c29a63abea39e8eb4733fbcf47064634ba88c0ae7a4e81',3,'finished','{"use_clinical": true, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021080','2026-11-29 16:46:01.079873','2026-11-29 16:46:03.360920',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('08e64bd2da0fcddff721b40f4a69f35fac6fd9c1e9feda715a3e40bea240da3a',4,'finished','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 3, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1, "continues": {"key": "f1c523c8d65c1424cd8f2417271f566e8561051b6e919c640e8ff01907b66b48", "checkpoint": "final"}}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021143','2026-11-29 16:46:03.304884','2026-11-29 16:46:04.841509',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('28182d67aa0f2ea4094724db0e52ffb7f7e2d5974776b0308aff8e3bf5026545',5,'finished','{"use_clinical": true, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 3, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1, "continues": {"key": "d9afcca86931498763c29a63abea39e8eb4733fbcf47064634ba88c0ae7a4e81", "checkpoint": "final"}}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021208','2026-11-29 16:46:04.095203','2026-11-29 16:46:06.170520',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('927f222d223a53cd93988595108dd90a39c8c0c6df4d2080216fd4b6677906a8',6,'queued','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021264',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,NULL,NULL,0,'ffc8689455f218dbb2450a5e72f53cf55a3741277b3ad75d73d489214c15daae');
INSERT INTO "runs" VALUES('feae619504021b4c724903be86b46338cd8287fe8c0ad78712d2a605b68f3ff9',7,'finished','{"use_clinical": true, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021322','2026-11-29 16:46:15.028741','2026-11-29 16:46:28.785674',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('48178ac8505198a19e31d782b272be021ed0eac0a50a7b841fcd7ed4f6340784',8,'interrupted','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.005, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 4, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021381','2026-11-29 16:46:43.139916',NULL,NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('0dcd4b9805022dbb5fe27d26e0c1aa1d7321192d1c5f1f7a617479f60c4fff36',9,'interrupted','{"use_clinical": true, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.005, "momentum": 0.9, "weight_decay": 0, "batch_size": 2, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 4, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:45:42.021438','2026-11-29 16:46:43.207844',NULL,NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
INSERT INTO "runs" VALUES('ffc8689455f218dbb2450a5e72f53cf55a3741277b3ad75d73d489214c15daae',10,'finished','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "custom2", "pretrained": false, "image_size": 32, "backbone_out_channels": 4, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 11, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 4, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 4, "fuse_dropout_rate": 0, "fuse_depth": 2, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [8, 16], "anchor_ratios": [0.5, 1, 2], "representation_size": 8, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 12, "rpn_post_nms_top_n_test": 12, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 4, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 8, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0, "batch_size": 1, "gradient_accumulation": 2, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 2, "seed": 0, "threads": 1, "weights": "none", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','phantom (seed 0, clinical effect 1)','/data/phantom-ac71e4b6','693a3a2b14b4940b9eeaa57047f38bcbb64111f0d9bb53c63f7bc19776c5c80a',2,'2026-11-29 16:46:10.498787','2026-11-29 16:46:14.964840','2026-11-29 16:46:29.279536',NULL,NULL,NULL,NULL,NULL,0,1,'cpu',NULL,0,NULL);
CREATE TABLE warnings (
	id INTEGER NOT NULL, 
	run_key VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_warnings PRIMARY KEY (id), 
	CONSTRAINT fk_warnings_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
CREATE INDEX ix_members_run_key ON members (run_key);
CREATE INDEX ix_environments_run_key ON environments (run_key);
CREATE INDEX ix_warnings_run_key ON warnings (run_key);
CREATE VIEW checkpoint_results AS
SELECT m.ablation, m.setting, m.arm, m.seed, m.replicate, m.documented, m.run_key AS key, m.overlap,
       c.kind AS checkpoint, c.epoch, v.ap AS val_ap, v.ar AS val_ar, t.ap AS test_ap, t.ar AS test_ar
FROM members AS m
JOIN checkpoints AS c ON c.run_key = m.run_key AND c.kind IN ('best_ap', 'best_ar', 'final')
LEFT JOIN evaluations AS v ON v.run_key = c.run_key AND v.kind = c.kind AND v.epoch = c.epoch AND v.split = 'val'
    AND v.overlap = m.overlap AND v.threshold = m.threshold AND v.max_detections = m.max_detections
    AND v.proposals = m.proposals
LEFT JOIN evaluations AS t ON t.run_key = c.run_key AND t.kind = c.kind AND t.epoch = c.epoch AND t.split = 'test'
    AND t.overlap = m.overlap AND t.threshold = m.threshold AND t.max_detections = m.max_detections
    AND t.proposals = m.proposals;
CREATE VIEW run_results AS
SELECT m.ablation, m.setting, m.arm, m.seed, m.replicate, m.documented, m.run_key AS key, r.status,
       (SELECT max(e.epoch) FROM epochs AS e WHERE e.run_key = m.run_key) AS epoch, m.overlap,
       a.epoch AS best_ap_epoch, a.val_ap AS best_ap_val_ap, a.val_ar AS best_ap_val_ar,
       a.test_ap AS best_ap_test_ap, a.test_ar AS best_ap_test_ar,
       b.epoch AS best_ar_epoch, b.val_ap AS best_ar_val_ap, b.val_ar AS best_ar_val_ar,
       b.test_ap AS best_ar_test_ap, b.test_ar AS best_ar_test_ar,
       f.epoch AS final_epoch, f.val_ap AS final_val_ap, f.val_ar AS final_val_ar,
       f.test_ap AS final_test_ap, f.test_ar AS final_test_ar,
       r.error
FROM members AS m JOIN runs AS r ON r.key = m.run_key
LEFT JOIN checkpoint_results AS a ON a.ablation = m.ablation AND a.setting = m.setting AND a.arm = m.arm
    AND a.seed = m.seed AND a.replicate = m.replicate AND a.checkpoint = 'best_ap'
LEFT JOIN checkpoint_results AS b ON b.ablation = m.ablation AND b.setting = m.setting AND b.arm = m.arm
    AND b.seed = m.seed AND b.replicate = m.replicate AND b.checkpoint = 'best_ar'
LEFT JOIN checkpoint_results AS f ON f.ablation = m.ablation AND f.setting = m.setting AND f.arm = m.arm
    AND f.seed = m.seed AND f.replicate = m.replicate AND f.checkpoint = 'final';
CREATE INDEX ix_analyses_kind ON analyses (kind);
CREATE INDEX ix_runs_status_priority_position ON runs (status, priority, position);
COMMIT;

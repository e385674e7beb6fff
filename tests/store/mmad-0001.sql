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
INSERT INTO "ablations" VALUES('patience','How long to wait','On a plateau of the validation loss.','ablations/patience.toml','title = "How long to wait"
','[["CXR", "CXR+Clinical"]]','2026-11-25 03:47:15.294772');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
INSERT INTO "checkpoints" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ap',2,'checkpoints/epoch-00002.pt','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1234,'2022-05-16 12:00:00.000000');
INSERT INTO "checkpoints" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ar',2,'checkpoints/epoch-00002.pt','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1234,'2022-05-16 12:00:00.000000');
INSERT INTO "checkpoints" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','final',3,'checkpoints/epoch-00003.pt','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1234,'2022-05-16 12:00:00.000000');
INSERT INTO "checkpoints" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','last',3,'checkpoints/epoch-00003.pt','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',1234,'2022-05-16 12:00:00.000000');
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
INSERT INTO "environments" VALUES(1,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','2022-05-16 12:00:00.000000','cedar','Linux-6.1-x86_64','3.11.7','{"torch": "2.6.0", "numpy": "2.1.0"}','cpu',1,'0123456789abcdef',1,'mmad ablate ablations/patience.toml',0);
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
INSERT INTO "epochs" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,0.001,2.0,8589934592,'2026-11-25 03:47:15.310867',0);
INSERT INTO "epochs" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,0.001,2.0,8589934592,'2026-11-25 03:47:15.329589',0);
INSERT INTO "epochs" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,0.001,2.0,8589934592,'2026-11-25 03:47:15.345895',0);
CREATE TABLE evaluation_classes (
	evaluation_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	ap DOUBLE, 
	ar DOUBLE, 
	CONSTRAINT pk_evaluation_classes PRIMARY KEY (evaluation_id, position), 
	CONSTRAINT fk_evaluation_classes_evaluation_id_evaluations FOREIGN KEY(evaluation_id) REFERENCES evaluations (id) ON DELETE CASCADE
);
INSERT INTO "evaluation_classes" VALUES(1,0,'Atelectasis',0.5,NULL);
INSERT INTO "evaluation_classes" VALUES(1,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(2,0,'Atelectasis',0.5,NULL);
INSERT INTO "evaluation_classes" VALUES(2,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(3,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(3,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(4,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(4,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(5,0,'Atelectasis',0.5,NULL);
INSERT INTO "evaluation_classes" VALUES(5,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(6,0,'Atelectasis',0.5,NULL);
INSERT INTO "evaluation_classes" VALUES(6,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(7,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(7,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(8,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(8,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(9,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(9,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(10,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(10,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(11,0,'Atelectasis',0.25,NULL);
INSERT INTO "evaluation_classes" VALUES(11,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(12,0,'Atelectasis',0.25,NULL);
INSERT INTO "evaluation_classes" VALUES(12,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(13,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(13,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(14,0,'Atelectasis',0.375,NULL);
INSERT INTO "evaluation_classes" VALUES(14,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(15,0,'Atelectasis',0.25,NULL);
INSERT INTO "evaluation_classes" VALUES(15,1,'Pulmonary edema',NULL,0.5);
INSERT INTO "evaluation_classes" VALUES(16,0,'Atelectasis',0.25,NULL);
INSERT INTO "evaluation_classes" VALUES(16,1,'Pulmonary edema',NULL,0.5);
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
INSERT INTO "evaluations" VALUES(1,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ap',2,'val','iou',0.5,10,'clean',0.5,0.75,'detections/x.npz');
INSERT INTO "evaluations" VALUES(2,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ap',2,'val','iobb',0.5,10,'clean',0.5,0.75,'detections/x.npz');
INSERT INTO "evaluations" VALUES(3,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ap',2,'test','iou',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(4,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ap',2,'test','iobb',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(5,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ar',2,'val','iou',0.5,10,'clean',0.5,0.75,'detections/x.npz');
INSERT INTO "evaluations" VALUES(6,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ar',2,'val','iobb',0.5,10,'clean',0.5,0.75,'detections/x.npz');
INSERT INTO "evaluations" VALUES(7,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ar',2,'test','iou',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(8,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','best_ar',2,'test','iobb',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(9,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','final',3,'val','iou',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(10,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','final',3,'val','iobb',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(11,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','final',3,'test','iou',0.5,10,'clean',0.25,0.5,'detections/x.npz');
INSERT INTO "evaluations" VALUES(12,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','final',3,'test','iobb',0.5,10,'clean',0.25,0.5,'detections/x.npz');
INSERT INTO "evaluations" VALUES(13,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','last',3,'val','iou',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(14,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','last',3,'val','iobb',0.5,10,'clean',0.375,0.625,'detections/x.npz');
INSERT INTO "evaluations" VALUES(15,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','last',3,'test','iou',0.5,10,'clean',0.25,0.5,'detections/x.npz');
INSERT INTO "evaluations" VALUES(16,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','last',3,'test','iobb',0.5,10,'clean',0.25,0.5,'detections/x.npz');
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
INSERT INTO "members" VALUES('patience','patience 10','CXR',0,1,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',0,'e069','iou',0.5,10,'clean','[]','[]');
INSERT INTO "members" VALUES('patience','patience 10','CXR+Clinical',0,1,'eaed13ccf73c0d7a8e25e7fbe270f1a7e3a047778caac148d0367edcf458dfb2',1,'e069','iou',0.5,10,'clean','[]','[]');
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
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'train','loss',1.0,0);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'train','loss_classifier',0.25,1);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'val','ap_iou',0.25,2);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'val','ar_iou',0.5,3);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'val','ap_iobb',0.75,4);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'val','ar_iobb',0.875,5);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'test','ap_iou',0.125,6);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'test','ar_iou',0.375,7);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'test','ap_iobb',0.625,8);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',1,'test','ar_iobb',0.75,9);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'train','loss',0.5,0);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'train','loss_classifier',0.25,1);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'val','ap_iou',0.5,2);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'val','ar_iou',0.75,3);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'val','ap_iobb',0.75,4);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'val','ar_iobb',0.875,5);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'test','ap_iou',0.375,6);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'test','ar_iou',0.625,7);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'test','ap_iobb',0.625,8);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',2,'test','ar_iobb',0.75,9);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'train','loss',3.33333333333333314829e-01,0);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'train','loss_classifier',0.25,1);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'val','ap_iou',0.375,2);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'val','ar_iou',0.625,3);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'val','ap_iobb',0.75,4);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'val','ar_iobb',0.875,5);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'test','ap_iou',0.25,6);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'test','ar_iou',0.5,7);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'test','ap_iobb',0.625,8);
INSERT INTO "metrics" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',3,'test','ar_iobb',0.75,9);
CREATE TABLE parameter_counts (
	run_key VARCHAR(64) NOT NULL, 
	module VARCHAR(255) NOT NULL, 
	count BIGINT NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_parameter_counts PRIMARY KEY (run_key, module), 
	CONSTRAINT fk_parameter_counts_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
INSERT INTO "parameter_counts" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','model',1040729,0);
INSERT INTO "parameter_counts" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','model.backbone',1009968,1);
CREATE TABLE runs (
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
	owner_boot TEXT, 
	CONSTRAINT pk_runs PRIMARY KEY ("key"), 
	CONSTRAINT ck_runs_status CHECK (status IN ('queued', 'running', 'finished', 'failed', 'interrupted'))
);
INSERT INTO "runs" VALUES('c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7',0,'finished','{"use_clinical": false, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "mobilenet_v3", "pretrained": true, "image_size": 256, "backbone_out_channels": 16, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 32, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 32, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 32, "fuse_dropout_rate": 0, "fuse_depth": 4, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [32, 64, 128, 256, 512], "anchor_ratios": [0.5, 1, 2], "representation_size": 32, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 2000, "rpn_post_nms_top_n_test": 1000, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 10, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 512, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 0, "batch_size": 4, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 3, "seed": 0, "threads": 1, "weights": "imagenet", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','set','/data/set','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',2,'2026-11-25 03:47:15.292787',NULL,'2026-11-25 03:47:15.364811',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES('eaed13ccf73c0d7a8e25e7fbe270f1a7e3a047778caac148d0367edcf458dfb2',1,'failed','{"use_clinical": true, "use_custom_model": true, "use_early_stop_model": true, "record_training_performance": true, "measure_test": true, "dataset_mode": "unified", "era": null, "backbone": "mobilenet_v3", "pretrained": true, "image_size": 256, "backbone_out_channels": 16, "using_fpn": false, "trainable_layers": null, "frozen_norm": true, "norm_momentum": null, "clinical_input_channels": 32, "clinical_num_len": null, "clinical_numeric": null, "clinical_categorical": null, "clinical_values": "standardised", "clinical_missing_indicators": false, "clinical_unknown_slot": false, "clinical_expand_conv_channels": null, "clinical_conv_channels": 32, "clinical_expand_dropout_rate": 0, "clinical_conv_dropout_rate": 0, "fuse_conv_channels": 32, "fuse_dropout_rate": 0, "fuse_depth": 4, "fuse_stride": 1, "fusion_strategy": "concat", "fusion_residule": false, "spatialise_clinical": true, "spatialise_method": "convs", "pre_spatialised_layer": false, "add_clinical_to_roi_heads": true, "anchor_sizes": [32, 64, 128, 256, 512], "anchor_ratios": [0.5, 1, 2], "representation_size": 32, "box_head_dropout_rate": 0, "use_mask": false, "mask_hidden_layers": 256, "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 2000, "rpn_post_nms_top_n_test": 1000, "rpn_nms_thresh": 0.3, "rpn_score_thresh": 0, "box_nms_thresh": 0.2, "box_score_thresh": 0.05, "box_detections_per_img": 10, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "rpn_positive_fraction": 0.5, "box_positive_fraction": 0.25, "rpn_batch_size_per_image": 256, "box_batch_size_per_image": 512, "gt_in_train_till": 999, "optimiser": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 0, "batch_size": 4, "gradient_accumulation": 1, "gradient_clip_norm": null, "mixed_precision": false, "warmup_epochs": 0, "lr_scheduler": null, "plateau_metric": "val_loss", "reduceLROnPlateau_factor": 0.1, "reduceLROnPlateau_patience": 10, "reduceLROnPlateau_full_stop": false, "multiStepLR_milestones": [30, 50, 70, 90], "multiStepLR_gamma": 0.1, "loss_weights": {}, "learned_loss_weights": false, "horizontal_flip": 0.5}','{"epochs": 3, "seed": 0, "threads": 1, "weights": "imagenet", "weights_hash": "", "selection_overlap": "iou", "selection_proposals": "clean", "replicate": 1}','set','/data/set','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',2,'2026-11-25 03:47:15.292869',NULL,'2026-11-25 03:47:15.372879','OutOfMemoryError: 3 GiB were asked for',NULL,NULL,NULL,NULL);
CREATE TABLE warnings (
	id INTEGER NOT NULL, 
	run_key VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_warnings PRIMARY KEY (id), 
	CONSTRAINT fk_warnings_run_key_runs FOREIGN KEY(run_key) REFERENCES runs ("key") ON DELETE CASCADE
);
INSERT INTO "warnings" VALUES(1,'c213b96706ad35bd6ae12fe9bccd90728fecaed930d8c0329dffac1dc1ab47b7','training AP is NaN','2026-11-25 03:47:15.359220');
CREATE INDEX ix_runs_status_position ON runs (status, position);
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
COMMIT;
